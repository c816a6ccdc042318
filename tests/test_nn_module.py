"""Module: registration, state_dict, hooks, containers, conversion."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import pytest

import flambeau as torch
from flambeau import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.note = "plain"

    def forward(self, x, factor=1.0):
        return self.linear(x) * self.scale * factor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Block()
        self.second = Block()
        self.extra = None

    def forward(self, x):
        return self.first(x) + self.second(x)


def test_registration_order_and_names():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "first.scale",
        "first.linear.weight",
        "first.linear.bias",
        "second.scale",
        "second.linear.weight",
        "second.linear.bias",
    ]
    assert [name for name, _ in net.named_buffers()] == [
        "first.count",
        "first.scratch",
        "second.count",
        "second.scratch",
    ]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "first",
        "first.linear",
        "second",
        "second.linear",
    ]
    assert [name for name, _ in net.named_children()] == ["first", "second"]
    assert list(net.first._parameters) == ["scale"]
    assert list(net.first._modules) == ["linear"]
    assert net.first._non_persistent_buffers_set == {"scratch"}


def test_shared_parameters_count_once():
    net = Net()
    net.second = net.first
    assert len(list(net.parameters())) == 3
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert len(list(net.modules())) == 3


def test_attribute_rules():
    block = Block()
    with pytest.raises(TypeError, match="parameter 'scale'"):
        block.scale = torch.ones(2)
    with pytest.raises(TypeError, match="module 'linear'"):
        block.linear = 3
    with pytest.raises(TypeError, match="buffer 'count'"):
        block.count = "no"
    block.count = torch.ones(4)
    assert dict(block.named_buffers())["count"].shape == (4,)
    block.scale = None
    assert block.scale is None and "scale" not in block.state_dict()
    block.scale = nn.Parameter(torch.zeros(2))
    assert "scale" in block.state_dict()
    block.linear = nn.ReLU()
    assert isinstance(block.linear, nn.ReLU)
    block.note = nn.Parameter(torch.zeros(1))
    assert "note" in dict(block.named_parameters())
    del block.note
    assert not hasattr(block, "note") and "note" not in dict(block.named_parameters())
    with pytest.raises(AttributeError, match="'Block' object has no attribute 'missing'"):
        block.missing  # noqa: B018


def test_registration_errors():
    block = Block()
    with pytest.raises(KeyError):
        block.register_parameter("a.b", None)
    with pytest.raises(KeyError):
        block.register_parameter("", None)
    with pytest.raises(KeyError):
        block.register_buffer("forward", torch.zeros(1))
    with pytest.raises(TypeError):
        block.register_parameter("weight", torch.zeros(1))
    with pytest.raises(TypeError):
        block.register_buffer("weight", 3)
    with pytest.raises(TypeError):
        block.add_module("weight", 3)
    with pytest.raises(TypeError):
        block.register_parameter(3, None)

    class Early(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="__init__"):
        Early()

    class EarlyParameter(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(torch.zeros(1))

    with pytest.raises(AttributeError, match="__init__"):
        EarlyParameter()


def test_buffer_class():
    module = nn.Module()
    module.kept = nn.Buffer(torch.ones(2))
    module.lost = nn.Buffer(torch.ones(2), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert [name for name, _ in module.named_buffers()] == ["kept", "lost"]


def test_views_write_through():
    block = Block()
    block._parameters["scale"] = nn.Parameter(torch.full((2,), 3.0))
    assert block.scale.tolist() == [3.0, 3.0]
    del block._parameters["scale"]
    assert not hasattr(block, "scale")
    block._modules["other"] = nn.ReLU()
    assert isinstance(block.other, nn.ReLU)
    assert "other" in block._modules and len(block._modules) == 2
    with pytest.raises(KeyError):
        block._modules["scale"]


def test_get_by_path():
    net = Net()
    assert net.get_submodule("first.linear") is net.first.linear
    assert net.get_submodule("") is net
    assert net.get_parameter("second.linear.weight") is net.second.linear.weight
    assert net.get_buffer("first.count") is net.first.count
    for path in ("third", "first.scale"):
        with pytest.raises(AttributeError):
            net.get_submodule(path)
    with pytest.raises(AttributeError):
        net.get_parameter("first.count")
    with pytest.raises(AttributeError):
        net.get_buffer("first.scale")


def test_own_getattr_may_call_super():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

    wrapper = Wrapper(nn.Linear(3, 2))
    assert wrapper.in_features == 3
    with pytest.raises(AttributeError):
        wrapper.nothing  # noqa: B018


# --- state_dict -----------------------------------------------------------------------------


def test_state_dict_round_trip():
    net, other = Net(), Net()
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert list(state)[:4] == [
        "first.scale",
        "first.count",
        "first.linear.weight",
        "first.linear.bias",
    ]
    assert state._metadata["first.linear"] == {"version": 1}
    assert not state["first.scale"].requires_grad
    assert state["first.scale"].data_ptr() == net.first.scale.data_ptr()
    assert net.state_dict(keep_vars=True)["first.scale"] is net.first.scale
    assert next(iter(net.state_dict(prefix="net."))) == "net.first.scale"
    result = other.load_state_dict(state)
    assert str(result) == "<All keys matched successfully>"
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()


def test_load_state_dict_reports():
    block = Block()
    state = block.state_dict()
    del state["count"]
    state["linear.weight"] = torch.zeros(5)
    state["linear.more"] = torch.zeros(1)
    state["other"] = torch.zeros(1)
    with pytest.raises(RuntimeError) as caught:
        block.load_state_dict(state)
    text = str(caught.value)
    assert text.startswith("Error(s) in loading state_dict for Block:")
    assert 'Missing key(s) in state_dict: "count". ' in text
    assert 'Unexpected key(s) in state_dict: "other", "linear.more". ' in text
    assert "size mismatch for linear.weight" in text
    state["linear.weight"] = torch.zeros(2, 3)
    missing, unexpected = block.load_state_dict(state, strict=False)
    assert missing == ["count"] and unexpected == ["other", "linear.more"]
    assert block.linear.weight.tolist() == [[0.0] * 3] * 2
    with pytest.raises(TypeError):
        block.load_state_dict([1])
    state["scale"] = "text"
    with pytest.raises(RuntimeError, match="scale"):
        block.load_state_dict(state, strict=False)


def test_load_state_dict_assign():
    block = Block()
    scale = block.scale
    state = {name: value.double() for name, value in block.state_dict().items()}
    block.load_state_dict(state, assign=True)
    assert block.scale is not scale and isinstance(block.scale, nn.Parameter)
    assert block.scale.dtype == torch.float64
    assert block.scale.data_ptr() == state["scale"].data_ptr()


def test_extra_state():
    class Counting(nn.Module):
        value = 0

        def get_extra_state(self):
            return {"value": self.value}

        def set_extra_state(self, state):
            self.value = state["value"]

    a, b = nn.Sequential(Counting()), nn.Sequential(Counting())
    a[0].value = 5
    state = a.state_dict()
    assert list(state) == ["0._extra_state"]
    b.load_state_dict(state)
    assert b[0].value == 5


def test_state_dict_hooks():
    block, calls = Block(), []
    block.register_state_dict_pre_hook(lambda m, prefix, keep: calls.append("pre"))
    block.register_state_dict_post_hook(lambda m, d, prefix, meta: calls.append("post"))
    block.register_load_state_dict_pre_hook(lambda *a: calls.append("load"))
    handle = block.register_load_state_dict_post_hook(lambda m, k: k.missing_keys.clear())
    state = block.state_dict()
    del state["scale"]
    block.load_state_dict(state)
    assert calls == ["pre", "post", "load"]
    handle.remove()
    with pytest.raises(RuntimeError, match="Missing"):
        block.load_state_dict(state)


def test_batch_norm_loads_version_one():
    norm = nn.BatchNorm1d(2)
    norm.num_batches_tracked.fill_(7)
    state = OrderedDict((k, v) for k, v in norm.state_dict().items() if "num" not in k)
    norm.load_state_dict(state)
    assert int(norm.num_batches_tracked) == 0


# --- hooks ----------------------------------------------------------------------------------


def test_forward_hooks_order_and_results():
    block, calls = Block(), []
    block.register_forward_pre_hook(lambda m, args: calls.append("pre 1"))
    block.register_forward_pre_hook(lambda m, args: calls.append("pre 0"), prepend=True)
    block.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    block.register_forward_hook(lambda m, args, out: calls.append("post"))
    handle = block.register_forward_hook(lambda m, args, out: out + 1)
    x = torch.ones(1, 3)
    assert torch.allclose(block(x), block.forward(x * 2) + 1)
    assert calls == ["pre 0", "pre 1", "post"]
    handle.remove()
    handle.remove()
    assert torch.allclose(block(x), block.forward(x * 2))


def test_forward_hooks_with_kwargs():
    block, seen = Block(), []

    def pre(module, args, kwargs):
        return args, {**kwargs, "factor": 3.0}

    def post(module, args, kwargs, out):
        seen.append(kwargs)

    with (
        block.register_forward_pre_hook(pre, with_kwargs=True),
        block.register_forward_hook(post, with_kwargs=True),
    ):
        x = torch.ones(1, 3)
        assert torch.allclose(block(x, factor=1.0), block.forward(x, 3.0))
    assert seen == [{"factor": 3.0}]
    assert block._hooks == []
    block.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="args, kwargs"):
        block(x)


def test_always_call_runs_after_a_failure():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("inside")

    module, calls = Broken(), []
    module.register_forward_hook(lambda *a: calls.append("normal"))
    module.register_forward_hook(lambda *a: calls.append("always"), always_call=True)
    with pytest.raises(ValueError, match="inside"):
        module(1)
    assert calls == ["always"]


def test_full_backward_hooks():
    linear, seen = nn.Linear(3, 2), []

    def hook(module, grad_input, grad_output):
        seen.append((grad_input[0].clone(), grad_output[0].clone()))
        return (grad_input[0] * 2,)

    linear.register_full_backward_hook(hook)
    linear.register_full_backward_pre_hook(lambda m, g: (g[0] * 3,))
    x = torch.ones(4, 3, requires_grad=True)
    linear(x).sum().backward()
    (grad_input, grad_output) = seen[0]
    assert grad_output.tolist() == [[3.0, 3.0]] * 4
    expected = (linear.weight.sum(0) * 3).expand(4, 3)
    assert torch.allclose(grad_input, expected)
    assert torch.allclose(x.grad, 2 * expected)


def test_full_backward_hook_without_input_gradient():
    linear, seen = nn.Linear(3, 2), []
    linear.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].shape)))
    linear(torch.ones(4, 3)).sum().backward()
    assert seen == [((None,), (4, 2))]


# --- modes, conversion, copies --------------------------------------------------------------


def test_train_eval_and_freezing():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    assert net.eval() is net and not net[1].training
    net.train()
    assert net[1].training
    with pytest.raises(ValueError):
        net.train("yes")
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_zero_grad():
    linear = nn.Linear(2, 2)
    linear(torch.ones(1, 2)).sum().backward()
    linear.zero_grad(set_to_none=False)
    assert linear.weight.grad.abs().sum() == 0
    linear.zero_grad()
    assert linear.weight.grad is None


def test_conversion_keeps_parameters():
    norm = nn.BatchNorm1d(2)
    weight = norm.weight
    assert norm.double() is norm
    assert norm.weight is weight and weight.dtype == torch.float64
    assert norm.running_mean.dtype == torch.float64
    assert norm.num_batches_tracked.dtype == torch.int64
    norm.to(torch.float32)
    assert weight.dtype == torch.float32
    norm.to("cpu", torch.float16)
    assert weight.dtype == torch.float16
    norm.to(torch.ones(1))
    assert weight.dtype == torch.float32
    assert norm.bfloat16().float().weight.dtype == torch.float32
    with pytest.raises(TypeError):
        norm.to(torch.int64)


def test_apply_visits_children_first():
    names = []
    nn.Sequential(nn.Linear(1, 1), nn.ReLU()).apply(lambda m: names.append(type(m).__name__))
    assert names == ["Linear", "ReLU", "Sequential"]


def test_copy_and_pickle():
    net = Net()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert list(other.state_dict()) == list(net.state_dict())
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b) and a is not b and isinstance(b, nn.Parameter)
        other.first.scale.data.fill_(9)
        assert net.first.scale.tolist() == [1.0, 1.0]


def test_state_of_a_module_pickled_by_pytorch():
    linear = nn.Linear.__new__(nn.Linear)
    weight = nn.Parameter(torch.ones(1, 2))
    linear.__setstate__(
        {
            "training": False,
            "_parameters": {"weight": weight, "bias": None},
            "_buffers": {"seen": torch.zeros(1)},
            "_non_persistent_buffers_set": {"seen"},
            "_modules": {},
            "_forward_hooks": OrderedDict(),
            "in_features": 2,
            "out_features": 1,
        }
    )
    assert list(linear.state_dict()) == ["weight"] and not linear.training
    assert repr(linear) == "Linear(in_features=2, out_features=1, bias=False)"
    assert linear(torch.ones(1, 2)).tolist() == [[2.0]]


def test_parameter():
    data = torch.zeros(2)
    parameter = nn.Parameter(data)
    assert parameter.requires_grad and parameter.is_leaf
    assert isinstance(parameter, torch.Tensor)
    assert parameter.data_ptr() == data.data_ptr()
    assert repr(parameter) == "Parameter containing:\ntensor([0., 0.], requires_grad=True)"
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert type(parameter + 1) is torch.Tensor
    twin = copy.deepcopy(parameter)
    assert type(twin) is nn.Parameter and twin.data_ptr() != parameter.data_ptr()
    assert nn.Parameter().numel() == 0
    with pytest.raises(RuntimeError):
        nn.Parameter(torch.zeros(2, dtype=torch.int64))


def test_a_module_is_freed_at_once():
    net = Net()
    net.register_forward_hook(lambda m, args, out: None)
    net(torch.ones(1, 3)).sum().backward()
    alive = weakref.ref(net)
    gc.disable()
    try:
        del net
        assert alive() is None
    finally:
        gc.enable()


def test_missing_forward():
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)


def test_repr():
    assert repr(nn.Linear(2, 3, bias=False)) == (
        "Linear(in_features=2, out_features=3, bias=False)"
    )
    net = nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.ReLU()))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=1, out_features=2, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        ")"
    )
    modules = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(modules) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"


# --- containers -----------------------------------------------------------------------------


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and net[0] is a and net[-1] is c
    assert [*net] == [a, b, c]
    assert list(net[1:]) == [b, c] and isinstance(net[:2], nn.Sequential)
    x = torch.ones(4, 2)
    assert torch.equal(net(x), c(b(a(x))))
    net.append(nn.Tanh()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in net] == ["Identity", "Linear", "ReLU", "Linear", "Tanh"]
    assert list(net._modules) == ["0", "1", "2", "3", "4"]
    del net[0]
    assert net[0] is a and list(net._modules) == ["0", "1", "2", "3"]
    assert net.pop(-1).__class__ is nn.Tanh
    net[1] = nn.Sigmoid()
    assert isinstance(net[1], nn.Sigmoid)
    assert len(net + net) == 6 and len(net * 2) == 6
    net += nn.Sequential(nn.ReLU())
    assert len(net) == 4
    named = nn.Sequential(OrderedDict([("in", a), ("out", c)]))
    assert list(named.state_dict()) == ["in.weight", "in.bias", "out.weight", "out.bias"]
    with pytest.raises(IndexError):
        net[9]
    with pytest.raises(TypeError):
        nn.Sequential(3)


def test_module_list_and_dict():
    modules = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    assert len(modules) == 3 and len(list(modules.parameters())) == 6
    modules.append(nn.ReLU())
    modules.insert(1, nn.Tanh())
    modules.extend([nn.Sigmoid()])
    assert isinstance(modules[1], nn.Tanh) and isinstance(modules[-1], nn.Sigmoid)
    assert isinstance(modules[2:4], nn.ModuleList) and len(modules[2:4]) == 2
    del modules[1]
    assert len(modules) == 5 and len(modules + nn.ModuleList([nn.ReLU()])) == 6
    choices = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(1, 1)})
    assert "a" in choices and list(choices) == ["a", "b"] and len(choices) == 2
    choices["c"] = nn.Tanh()
    assert [*choices.keys()] == ["a", "b", "c"]
    assert isinstance(choices.pop("a"), nn.ReLU)
    choices.update([("d", nn.ReLU())])
    assert [name for name, _ in choices.items()] == ["b", "c", "d"]
    choices.clear()
    assert len(choices) == 0
    with pytest.raises(KeyError):
        choices["x"]
    with pytest.raises(TypeError):
        choices.update(3)


def test_parameter_containers():
    values = nn.ParameterList([torch.zeros(2), nn.Parameter(torch.ones(3)), "text"])
    assert len(values) == 3 and isinstance(values[0], nn.Parameter)
    assert list(values.state_dict()) == ["0", "1"]
    values.append(torch.zeros(1))
    values[0] = torch.ones(4)
    assert values[0].shape == (4,) and len(values[1:3]) == 2
    with pytest.raises(IndexError):
        values[7]
    table = nn.ParameterDict({"left": torch.zeros(2)})
    table["right"] = torch.ones(1)
    assert list(table) == ["left", "right"] and isinstance(table["left"], nn.Parameter)
    assert list(table.state_dict()) == ["left", "right"]
    assert table.get("none") is None and table.pop("left").shape == (2,)
    assert "left" not in table and len(table | nn.ParameterDict({"x": torch.ones(1)})) == 2
    assert copy.deepcopy(table)["right"].tolist() == [1.0]
