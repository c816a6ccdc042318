"""torch.autocast: types inside of it, its scopes, gradients, recordings, and loss scaling."""

import copy
import pickle
import threading
import warnings

import pytest

import flambeau as fl
from flambeau import _core
from flambeau.nn import functional as F
from flambeau.ops._composite import composites

half, single = fl.bfloat16, fl.float32


def cpu(**settings) -> fl.autocast:
    return fl.autocast("cpu", **settings)


def test_classes_of_operators() -> None:
    x, h = fl.randn(4, 4), fl.randn(4, 4).to(half)
    with cpu():
        assert (x @ x).dtype is half and x.mm(h).dtype is half and F.linear(h, x).dtype is half
        assert F.mse_loss(h, h).dtype is single and F.cross_entropy(h, x).dtype is single
        assert fl.cat([x, h]).dtype is single and fl.cat([h, h]).dtype is half
        assert (x + x).dtype is single and (h + h).dtype is half and (h + x).dtype is single
        assert (x.double() @ x.double()).dtype is fl.float64
        assert (fl.ones(2, 2, dtype=fl.int64) @ fl.ones(2, 2, dtype=fl.int64)).dtype is fl.int64
    assert (x @ x).dtype is single


def test_float16_on_request() -> None:
    with cpu(dtype=fl.float16):
        assert (fl.ones(2, 2) @ fl.ones(2, 2)).dtype is fl.float16


def test_existing_memory_keeps_its_type() -> None:
    x, out = fl.randn(3, 3), fl.empty(3, 3)
    with cpu():
        assert fl.mm(x, x, out=out).dtype is single
        assert x.clone().addmm_(x, x).dtype is single


def test_an_explicit_dtype_wins() -> None:
    h = fl.randn(3, 3).to(half)
    with cpu():
        assert h.prod(dtype=fl.float64).dtype is fl.float64
        assert h.prod(dtype=half).dtype is half
        assert h.prod().dtype is single


def test_inside_of_a_composite_autocast_is_off() -> None:
    seen = []

    def look(x, name):
        seen.append((_core.autocast_is_on(), x.dtype, name))
        return x

    with cpu():
        arguments = ([fl.ones(1, dtype=half)][0],)
        _core.call_autocast(look, "float32", arguments, {"name": "n"})
        assert _core.autocast_is_on()
    assert seen == [(False, single, "n")]


def test_policies_are_known() -> None:
    known = {"lower", "float32", "promote", "float32 on cpu, refused on cuda", "float32 on cuda"}
    known |= {"float32 on cpu", ""}
    assert {record.autocast for record in composites.values()} <= known
    with pytest.raises(ValueError, match="lower, float32, promote or refused"):
        with cpu():
            _core.call_autocast(lambda: None, "faster", (), {})


def test_scopes_nest() -> None:
    x = fl.ones(2, 2)
    with cpu():
        with cpu(enabled=False):
            assert (x @ x).dtype is single and not fl.is_autocast_enabled("cpu")
            with cpu(dtype=fl.float16):
                assert (x @ x).dtype is fl.float16
        assert (x @ x).dtype is half and fl.get_autocast_dtype("cpu") is half
    assert not fl.is_autocast_enabled("cpu")


def test_scopes_end_with_errors() -> None:
    with pytest.raises(RuntimeError, match="mm"), cpu():
        fl.mm(fl.ones(2, 3), fl.ones(2, 3))
    assert not fl.is_autocast_enabled("cpu")


def test_decorator() -> None:
    @fl.autocast("cpu", dtype=fl.float16)
    def product(x, depth=1):
        return x @ x if depth == 0 else product(x, depth - 1)

    assert product(fl.ones(2, 2)).dtype is fl.float16
    assert product.__name__ == "product" and not fl.is_autocast_enabled("cpu")


def test_threads_have_their_own() -> None:
    seen = []
    with cpu():
        thread = threading.Thread(target=lambda: seen.append(fl.is_autocast_enabled("cpu")))
        thread.start()
        thread.join()
    assert seen == [False]


def test_settings() -> None:
    assert fl.get_autocast_cpu_dtype() is half and fl.get_autocast_gpu_dtype() is fl.float16
    assert fl.amp.is_autocast_available("cuda") and not fl.amp.is_autocast_available("abacus")
    fl.set_autocast_enabled("cpu", True)
    fl.set_autocast_dtype("cpu", fl.float16)
    assert (fl.ones(1, 1) @ fl.ones(1, 1)).dtype is fl.float16
    fl.set_autocast_dtype("cpu", half)
    fl.set_autocast_cpu_enabled(False)
    assert not fl.is_autocast_cpu_enabled()


def test_mistakes() -> None:
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'abacus'"):
        fl.autocast("abacus")
    with pytest.raises(ValueError, match="expected device_type of type"):
        fl.autocast(fl.device("cpu"))
    with pytest.warns(UserWarning, match="CPU Autocast only supports"), cpu(dtype=single):
        assert not fl.is_autocast_enabled("cpu")
    with pytest.raises(TypeError, match=r"torch\.dtype"):
        fl.set_autocast_dtype("cpu", "half")
    with pytest.raises(RuntimeError, match="floating dtype"):
        fl.set_autocast_dtype("cpu", fl.int64)


# --- gradients ------------------------------------------------------------------------------


def test_parameters_and_gradients_stay_float32() -> None:
    fl.manual_seed(0)
    model = fl.nn.Sequential(fl.nn.Linear(4, 8), fl.nn.ReLU(), fl.nn.Linear(8, 3))
    x, target = fl.randn(5, 4), fl.tensor([0, 1, 2, 1, 0])
    exact = F.cross_entropy(model(x), target)
    expected = fl.autograd.grad(exact, list(model.parameters()))
    with cpu():
        loss = F.cross_entropy(model(x), target)
    loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert parameter.grad.dtype is single
        assert fl.allclose(parameter.grad, gradient, rtol=0.05, atol=0.02)
        assert not fl.equal(parameter.grad, gradient)


def cast_of_weight(weight, x):
    """The node of the cast behind F.linear(x, weight)."""
    (_, (transposed, _)) = F.linear(x, weight).grad_fn.next_functions
    return transposed.next_functions[0][0]


def test_a_weight_is_cast_once() -> None:
    weight, x = fl.randn(3, 3, requires_grad=True), fl.randn(2, 3)
    with cpu():
        first = cast_of_weight(weight, x)
        second = cast_of_weight(weight, x)
        assert first.name() == "ToCopyBackward0" and repr(first) == repr(second)
        before = F.linear(x, weight).float()
        with fl.no_grad():
            weight.mul_(2.0)
        assert fl.allclose(F.linear(x, weight).float(), 2 * before)
    with cpu(cache_enabled=False):
        nodes = [cast_of_weight(weight, x) for _ in range(2)]
        assert repr(nodes[0]) != repr(nodes[1])


def test_no_grad_leaves_nothing_without_history() -> None:
    weight, x = fl.randn(3, 3, requires_grad=True), fl.randn(2, 3)
    with cpu():
        with fl.no_grad():
            assert not F.linear(x, weight).requires_grad
        F.linear(x, weight).sum().backward()
    assert weight.grad is not None


def test_recurrent_states_take_the_type() -> None:
    for kind in (fl.nn.LSTM, fl.nn.GRU, fl.nn.RNN):
        with cpu():
            outputs, state = kind(4, 3)(fl.randn(2, 5, 4))
        states = state if isinstance(state, tuple) else (state,)
        assert [y.dtype for y in (outputs, *states)] == [half] * (1 + len(states))


def test_normalisation_keeps_statistics_in_float32() -> None:
    layer, x = fl.nn.BatchNorm2d(3), (1000 + fl.randn(8, 3, 4, 4)).to(half)
    with cpu():
        assert layer(x).dtype is half
    assert layer.running_mean.dtype is single
    assert fl.allclose(layer.running_mean, 0.1 * x.float().mean((0, 2, 3)))


def test_custom_function() -> None:
    class Product(fl.autograd.Function):
        @staticmethod
        @fl.amp.custom_fwd(device_type="cpu", cast_inputs=single)
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            assert not fl.is_autocast_enabled("cpu")
            return x @ y

        @staticmethod
        @fl.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g @ y.t(), x.t() @ g

    x = fl.randn(2, 2).to(half).requires_grad_()
    with cpu():
        result = Product.apply(x, x)
    assert result.dtype is single
    result.sum().backward()
    assert x.grad.dtype is half


def test_backward_of_a_custom_function_has_forwards_setting() -> None:
    seen = []

    class Same(fl.autograd.Function):
        @staticmethod
        @fl.amp.custom_fwd(device_type="cpu")
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        @fl.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen.append(fl.is_autocast_enabled("cpu"))
            return g

    x = fl.ones(1, requires_grad=True)
    with cpu():
        result = Same.apply(x)
    result.backward()
    Same.apply(x).backward()
    assert seen == [True, False]


def test_a_recomputed_part_has_the_same_types() -> None:
    from flambeau.utils.checkpoint import checkpoint

    weight = fl.randn(3, 3, requires_grad=True)
    with cpu():
        result = checkpoint(lambda x: x @ weight, fl.randn(2, 3), use_reentrant=False)
    assert result.dtype is half
    result.float().sum().backward()
    assert weight.grad is not None


# --- recordings -----------------------------------------------------------------------------


def test_compiled_functions_follow_autocast() -> None:
    weight = fl.randn(3, 3, requires_grad=True)
    function = fl.compile(lambda x: x @ weight)
    x = fl.randn(2, 3)
    for _ in range(4):
        with cpu():
            assert function(x).dtype is half
        with cpu(dtype=fl.float16):
            assert function(x).dtype is fl.float16
        assert function(x).dtype is single
    with cpu():
        eager, compiled = x @ weight, function(x)
    assert fl.equal(eager, compiled)


def test_a_compiled_step_with_autocast_inside() -> None:
    fl.manual_seed(0)
    models = [fl.nn.Linear(4, 2)]
    models.append(copy.deepcopy(models[0]))
    optimizers = [fl.optim.SGD(model.parameters(), lr=0.1) for model in models]
    x, y = fl.randn(8, 4), fl.randn(8, 2)

    def step(model, optimizer):
        optimizer.zero_grad()
        with cpu():
            loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = fl.compile(lambda: step(models[1], optimizers[1]))
    for _ in range(6):
        assert fl.allclose(step(models[0], optimizers[0]), compiled())
    assert fl.allclose(models[0].weight, models[1].weight)


def test_a_weight_cast_before_the_recording_is_not_replayed() -> None:
    weight = fl.ones(2, 2, requires_grad=True)
    function = fl.compile(lambda x: x @ weight)
    x = fl.ones(2, 2)
    for factor in (1.0, 2.0, 3.0, 4.0):
        with fl.no_grad():
            weight.fill_(factor)
        with cpu():
            x @ weight  # the cast is kept from here on
            assert function(x)[0, 0].item() == 2 * factor


# --- loss scaling ---------------------------------------------------------------------------


def setting(scale: float = 8.0, **settings):
    weight = fl.tensor([1.0, 2.0], requires_grad=True)
    optimizer = fl.optim.SGD([weight], lr=0.5)
    return weight, optimizer, fl.amp.GradScaler("cpu", init_scale=scale, **settings)


def test_a_scaled_step_is_the_plain_step() -> None:
    weight, optimizer, scaler = setting()
    scaler.scale((weight**2).sum()).backward()
    assert fl.equal(weight.grad, fl.tensor([16.0, 32.0]))
    scaler.step(optimizer)
    scaler.update()
    assert fl.equal(weight.detach(), fl.tensor([0.0, 0.0])) and scaler.get_scale() == 8.0


def test_infinities_skip_the_step_and_lower_the_scale() -> None:
    for bad in (float("inf"), float("-inf"), float("nan")):
        weight, optimizer, scaler = setting()
        scaler.scale((weight * fl.tensor([1.0, bad])).sum()).backward()
        assert scaler.step(optimizer) is None
        scaler.update()
        assert fl.equal(weight.detach(), fl.tensor([1.0, 2.0])) and scaler.get_scale() == 4.0


def test_the_scale_grows_after_an_interval() -> None:
    weight, optimizer, scaler = setting(growth_interval=3)
    scales = []
    for _ in range(7):
        optimizer.zero_grad()
        scaler.scale(weight.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    assert scales == [8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 32.0]


def test_the_scale_stays_finite() -> None:
    weight, optimizer, scaler = setting(scale=2.0**127, growth_interval=1)
    scaler.scale((weight * 1e-30).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**127


def test_unscaling_before_clipping() -> None:
    weight, optimizer, scaler = setting()
    scaler.scale((3 * weight).sum()).backward()
    scaler.unscale_(optimizer)
    assert fl.equal(weight.grad, fl.tensor([3.0, 3.0]))
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert fl.equal(weight.detach(), fl.tensor([-0.5, 0.5]))
    with pytest.raises(RuntimeError, match="already been called since the last update"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)


def test_two_optimizers_are_apart() -> None:
    weight, optimizer, scaler = setting()
    other = fl.tensor([1.0], requires_grad=True)
    second = fl.optim.SGD([other], lr=1.0)
    loss = scaler.scale((weight * float("inf")).sum() + other.sum())
    loss.backward()
    scaler.step(optimizer)
    scaler.step(second)
    scaler.update()
    assert fl.equal(weight.detach(), fl.tensor([1.0, 2.0]))
    assert other.item() == 0.0 and scaler.get_scale() == 4.0


def test_scaling_several_outputs() -> None:
    _, _, scaler = setting()
    assert scaler.scale([fl.ones(1), (fl.ones(1),)]) == [fl.tensor([8.0]), (fl.tensor([8.0]),)]
    with pytest.raises(ValueError, match="Tensor or an iterable of Tensors"):
        scaler.scale(3.0)


def test_mistakes_of_scaling() -> None:
    _, optimizer, scaler = setting()
    with pytest.raises(RuntimeError, match="nothing was scaled yet"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="nothing was scaled yet"):
        scaler.update()
    scaler.scale(fl.ones(1))
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: None)
    weight = fl.ones(2, dtype=fl.float16, requires_grad=True)
    optimizer = fl.optim.SGD([weight], lr=1.0)
    scaler.scale(weight.sum()).backward()
    with pytest.raises(ValueError, match="FP16 gradients"):
        scaler.unscale_(optimizer)


def test_states_are_saved() -> None:
    weight, optimizer, scaler = setting(growth_interval=3)
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update(64.0)
    state = scaler.state_dict()
    assert state == {
        "scale": 64.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 3,
        "_growth_tracker": 0,
    }
    restored = setting()[2]
    restored.load_state_dict(state | {"_growth_tracker": 2})
    assert restored.state_dict()["_growth_tracker"] == 2 and restored.get_scale() == 64.0
    assert pickle.loads(pickle.dumps(scaler)).state_dict() == state
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        restored.load_state_dict({})


def test_a_disabled_scaler_does_nothing() -> None:
    weight, optimizer, _ = setting()
    scaler = fl.amp.GradScaler("cpu", enabled=False)
    loss = weight.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled()
    loss.backward()
    scaler.step(optimizer)
    scaler.update()
    assert fl.equal(weight.detach(), fl.tensor([0.5, 1.5]))
    assert scaler.state_dict() == {} and scaler.get_scale() == 1.0


@pytest.mark.skipif(fl.cuda.is_available(), reason="what happens without a GPU")
def test_without_a_gpu() -> None:
    with pytest.warns(UserWarning, match="CUDA is not available. Disabling"), fl.autocast("cuda"):
        assert not fl.is_autocast_enabled()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not fl.cuda.amp.GradScaler().is_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.cuda.amp.autocast(enabled=False)
