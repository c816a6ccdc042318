"""Layers: values against NumPy in float64, golden initial weights, gradients by differences."""

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

GENERATOR = np.random.default_rng(0)


def draw(*shape):
    return GENERATOR.normal(size=shape)


def tensor(array, requires_grad=False):
    return torch.from_numpy(np.array(array)).requires_grad_(requires_grad)


def close(ours, expected, tolerance=1e-9):
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def check_gradients(function, *arrays, epsilon=1e-6):
    """Directional derivative of an uneven sum of the outputs against central differences."""
    inputs = [tensor(a, True) for a in arrays]
    out = function(*inputs)
    weight = np.cos(np.arange(out.numel())).reshape(tuple(out.shape))
    (out * tensor(weight)).sum().backward()
    for i, array in enumerate(arrays):
        direction = np.sin(1 + np.arange(array.size)).reshape(array.shape)

        def value(shift, i=i, direction=direction):
            moved = [a + shift * direction if j == i else a for j, a in enumerate(arrays)]
            return float((function(*[tensor(a) for a in moved]) * tensor(weight)).sum())

        expected = (value(epsilon) - value(-epsilon)) / (2 * epsilon)
        actual = float((inputs[i].grad * tensor(direction)).sum())
        assert actual == pytest.approx(expected, rel=1e-5, abs=1e-6), i


# --- initial values: PyTorch's for the same seed --------------------------------------------


def test_golden_initial_values():
    torch.manual_seed(0)
    linear = nn.Linear(3, 2)
    close(
        linear.weight,
        [[-0.0043225, 0.3097158, -0.4751853], [-0.4248946, -0.2223690, 0.1548207]],
        1e-6,
    )
    close(linear.bias, [-0.0114391, 0.4577749], 1e-6)
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 1, 2)
    close(conv.weight.flatten(), [-0.0037434, 0.2682218, -0.4115226, -0.3679695], 1e-6)
    torch.manual_seed(0)
    close(nn.Embedding(2, 2).weight, [[1.5409961, -0.2934289], [-2.1787894, 0.5684313]], 1e-6)


# --- values ---------------------------------------------------------------------------------


def test_linear_and_bilinear():
    x, w, b = draw(4, 3), draw(2, 3), draw(2)
    close(F.linear(tensor(x), tensor(w), tensor(b)), x @ w.T + b)
    y, w3 = draw(4, 5), draw(2, 3, 5)
    close(
        F.bilinear(tensor(x), tensor(y), tensor(w3), tensor(b)),
        np.einsum("ni,oij,nj->no", x, w3, y) + b,
    )
    check_gradients(F.bilinear, x, y, w3, b)
    with pytest.raises(RuntimeError):
        F.bilinear(tensor(y), tensor(y), tensor(w3))


def test_flatten_and_unflatten():
    x = torch.zeros(2, 6, 4)
    assert nn.Flatten()(x).shape == (2, 24)
    assert nn.Unflatten(1, (2, -1))(x).shape == (2, 2, 3, 4)
    with pytest.raises(TypeError):
        nn.Unflatten(1, 3.5)


def conv2d_reference(x, w, b, stride, padding, dilation, groups):
    n, _, height, width = x.shape
    out_channels, per_group, kh, kw = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    oh = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    ow = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    out = np.zeros((n, out_channels, oh, ow))
    for o in range(out_channels):
        group = o // (out_channels // groups)
        for i in range(oh):
            for j in range(ow):
                patch = x[
                    :,
                    group * per_group : (group + 1) * per_group,
                    i * stride : i * stride + dilation * (kh - 1) + 1 : dilation,
                    j * stride : j * stride + dilation * (kw - 1) + 1 : dilation,
                ]
                out[:, o, i, j] = (patch * w[o]).sum((1, 2, 3)) + b[o]
    return out


@pytest.mark.parametrize(
    "stride, padding, dilation, groups", [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), (3, 1, 1, 4)]
)
def test_conv2d(stride, padding, dilation, groups):
    conv = nn.Conv2d(4, 8, (3, 2), stride, padding, dilation, groups).double()
    x = draw(2, 4, 9, 8)
    expected = conv2d_reference(
        x,
        conv.weight.detach().numpy(),
        conv.bias.detach().numpy(),
        stride,
        padding,
        dilation,
        groups,
    )
    close(conv(tensor(x)), expected)
    single = conv(tensor(x[0]))
    close(single, expected[0])


def test_conv_padding_modes_and_arguments():
    x = tensor(draw(1, 2, 5, 6))
    for mode in ("zeros", "reflect", "replicate", "circular"):
        conv = nn.Conv2d(2, 3, 3, padding="same", padding_mode=mode).double()
        assert conv(x).shape == (1, 3, 5, 6)
    for bad in (
        {"groups": 3},
        {"groups": 0},
        {"padding": "full"},
        {"padding": "same", "stride": 2},
        {"padding_mode": "mirror"},
    ):
        with pytest.raises(ValueError):
            nn.Conv2d(2, 4, 3, **bad)


def test_conv_transpose_is_the_adjoint():
    """<conv(x), y> = <x, conv_transpose(y)>."""
    w = tensor(draw(3, 2, 3, 3))
    x, y = tensor(draw(1, 2, 7, 7)), tensor(draw(1, 3, 4, 4))
    left = (F.conv2d(x, w, stride=2, padding=1) * y).sum()
    right = (x * F.conv_transpose2d(y, w, stride=2, padding=1)).sum()
    assert float(left) == pytest.approx(float(right))
    layer = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1).double()
    assert layer(y, output_size=(8, 7)).shape == (1, 2, 8, 7)
    with pytest.raises(ValueError):
        layer(y, output_size=(20, 7))
    with pytest.raises(ValueError):
        nn.ConvTranspose2d(1, 1, 1, padding_mode="reflect")


def test_pools():
    x = draw(2, 3, 6, 4)
    blocks = x.reshape(2, 3, 3, 2, 2, 2)
    close(nn.MaxPool2d(2)(tensor(x)), blocks.max((3, 5)))
    close(nn.AvgPool2d(2)(tensor(x)), blocks.mean((3, 5)))
    values, indices = nn.MaxPool2d(2, return_indices=True)(tensor(x))
    flat = x.reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, indices.numpy().reshape(2, 3, -1), 2),
        values.numpy().reshape(2, 3, -1),
    )
    restored = nn.MaxUnpool2d(2)(values, indices)
    assert restored.shape == (2, 3, 6, 4) and float(restored.sum()) == pytest.approx(
        float(values.sum())
    )
    close(nn.AdaptiveAvgPool2d(1)(tensor(x)), x.mean((2, 3), keepdims=True))
    close(nn.AdaptiveAvgPool2d((3, None))(tensor(x)), x.reshape(2, 3, 3, 2, 4).mean(3))
    close(nn.AdaptiveMaxPool2d((3, 2))(tensor(x)), blocks.max((3, 5)))
    uneven = nn.AdaptiveAvgPool1d(4)(tensor(x[:, 0]))  # windows [0,2) [1,3) ... of 6 in 4
    assert uneven.shape == (2, 6, 4)
    close(nn.LPPool2d(2, 2)(tensor(x)), np.sqrt((blocks**2).sum((3, 5))))
    with pytest.raises(RuntimeError):
        nn.AdaptiveAvgPool2d(2)(tensor(draw(3)))


def test_padding():
    x = draw(2, 3, 4, 5)
    close(nn.ZeroPad2d((1, 2, 0, 1))(tensor(x)), np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 2))))
    for layer, mode in (
        (nn.ReflectionPad2d, "reflect"),
        (nn.ReplicationPad2d, "edge"),
        (nn.CircularPad2d, "wrap"),
    ):
        close(layer((1, 2, 3, 0))(tensor(x)), np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), mode))
    close(F.pad(tensor(x), (-1, 0, 1, -2), value=3.0)[:, :, 1:], x[:, :, :2, 1:])
    check_gradients(lambda t: F.pad(t, (1, -1, 2, 0), value=2.0), draw(2, 3, 4))
    with pytest.raises(RuntimeError):
        nn.ReflectionPad2d(9)(tensor(x))
    with pytest.raises(RuntimeError):
        F.pad(tensor(x), (1,))
    with pytest.raises(RuntimeError):
        F.pad(tensor(x), (-9, 1))
    with pytest.raises(NotImplementedError):
        F.pad(tensor(x), (1, 1), mode="mirror")


def test_embedding():
    table = nn.Embedding(5, 3, padding_idx=1)
    assert table.weight[1].tolist() == [0.0, 0.0, 0.0]
    index = torch.tensor([[0, 1], [4, 0]])
    out = table(index)
    assert torch.equal(out, table.weight[index])
    out.sum().backward()
    np.testing.assert_array_equal(table.weight.grad.numpy()[:, 0], [2, 0, 0, 0, 1])
    frozen = nn.Embedding.from_pretrained(torch.ones(2, 3))
    assert not frozen.weight.requires_grad and frozen.num_embeddings == 2
    limited = nn.Embedding(4, 3, max_norm=0.5)
    assert limited(torch.tensor([2])).norm().item() <= 0.5 + 1e-6
    with pytest.raises(AssertionError):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(IndexError):
        table(torch.tensor([5]))
    bags = nn.EmbeddingBag(5, 3, mode="sum")
    flat, offsets = torch.tensor([0, 1, 2, 4]), torch.tensor([0, 3, 3])
    expected = [bags.weight[:3].sum(0), torch.zeros(3), bags.weight[4]]
    assert torch.allclose(bags(flat, offsets), torch.stack(expected))


def test_norms():
    x = draw(4, 6, 5)
    mean, var = x.mean(2, keepdims=True), x.var(2, keepdims=True)
    close(F.layer_norm(tensor(x), (5,)), (x - mean) / np.sqrt(var + 1e-5))
    close(F.rms_norm(tensor(x), (5,), eps=1e-5), x / np.sqrt((x**2).mean(2, keepdims=True) + 1e-5))
    groups = x.reshape(4, 2, -1)
    normal = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    w, b = draw(6), draw(6)
    close(
        F.group_norm(tensor(x), 2, tensor(w), tensor(b)),
        normal.reshape(x.shape) * w[:, None] + b[:, None],
    )
    close(F.instance_norm(tensor(x)), (x - mean) / np.sqrt(var + 1e-5))
    check_gradients(lambda t, s, h: F.group_norm(t, 3, s, h), x, w, b)
    check_gradients(lambda t: F.rms_norm(t, (6, 5), eps=1e-5), x)
    with pytest.raises(RuntimeError):
        F.rms_norm(tensor(x), (4,))
    with pytest.raises(ValueError):
        nn.GroupNorm(4, 6)


def test_batch_norm():
    norm = nn.BatchNorm1d(3).double()
    x = draw(8, 3, 4)
    mean, var = x.mean((0, 2)), x.var((0, 2))
    close(norm(tensor(x)), (x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5))
    close(norm.running_mean, 0.1 * mean)
    close(norm.running_var, 0.9 + 0.1 * var * 32 / 31)
    assert int(norm.num_batches_tracked) == 1
    norm.eval()
    close(
        norm(tensor(x)),
        (x - 0.1 * mean[:, None]) / np.sqrt(0.9 + 0.1 * var[:, None] * 32 / 31 + 1e-5),
    )
    check_gradients(
        lambda t, w, b: F.batch_norm(t, None, None, w, b, training=True), x, draw(3), draw(3)
    )
    inputs = [tensor(a, True) for a in (x[:3], draw(3), draw(3))]
    for count in (1, 2, 3):
        assert torch.autograd.gradgradcheck(
            lambda *t: F.batch_norm(t[0], None, None, *t[1:], training=True), inputs[:count]
        )
    with pytest.raises(ValueError):
        nn.BatchNorm2d(3)(tensor(x))
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm1d(3)(torch.zeros(1, 3))


def test_activations_at_a_few_points():
    x = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    close(nn.ReLU()(x), [0, 0, 3])
    close(nn.LeakyReLU(0.1)(x), [-0.2, 0, 3])
    close(nn.ELU()(x), [math.exp(-2) - 1, 0, 3])
    close(nn.Softplus()(x), np.log1p(np.exp([-2.0, 0, 3])))
    close(nn.SiLU()(x), [-2 / (1 + math.e**2), 0, 3 / (1 + math.exp(-3))])
    close(nn.GELU()(x)[2:], [3 * 0.5 * (1 + math.erf(3 / math.sqrt(2)))])
    close(nn.Hardtanh()(x), [-1, 0, 1])
    close(nn.Softshrink(0.5)(x), [-1.5, 0, 2.5])
    close(nn.Threshold(0.5, 7)(x), [7, 7, 3])
    close(nn.PReLU().double()(x), [-0.5, 0, 3])
    close(nn.Softmax(0)(x).sum(), 1)
    close(nn.GLU()(torch.tensor([2.0, 0.0])), [1.0])
    y = x.clone()
    assert nn.ReLU(inplace=True)(y) is y and y.tolist() == [0.0, 0.0, 3.0]
    with pytest.raises(RuntimeError):
        nn.GLU()(x)
    with pytest.raises(RuntimeError):
        nn.PReLU(5)(torch.zeros(2, 3))


def test_dropout():
    x = torch.ones(1000)
    layer = nn.Dropout(0.25)
    out = layer(x)
    assert set(out.unique().tolist()) <= {0.0, torch.ones(1).div(0.75).item()}
    assert 650 < int((out > 0).sum()) < 850
    assert layer.eval()(x) is x or torch.equal(layer(x), x)
    channels = nn.Dropout2d(0.5)(torch.ones(4, 8, 3, 3))
    per_channel = channels.flatten(2)
    assert bool((per_channel == per_channel[:, :, :1]).all())
    assert nn.Dropout(1.0)(x).sum() == 0
    with pytest.raises(ValueError):
        nn.Dropout(1.5)
    with pytest.raises(ValueError):
        F.dropout(x, -0.1)


def test_pixel_shuffles_and_unfold():
    x = draw(2, 8, 3, 4)
    shuffled = nn.PixelShuffle(2)(tensor(x))
    expected = x.reshape(2, 2, 2, 2, 3, 4).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 6, 8)
    close(shuffled, expected)
    close(nn.PixelUnshuffle(2)(shuffled), x)
    image = draw(1, 2, 5, 6)
    columns = F.unfold(tensor(image), (2, 3))
    assert columns.shape == (1, 12, 16)
    close(columns[0, :, 0].reshape(2, 2, 3), image[0, :, :2, :3])
    ones = F.fold(F.unfold(torch.ones(1, 1, 4, 4), 2), (4, 4), 2)
    assert ones[0, 0, 1].tolist() == [2.0, 4.0, 4.0, 2.0]
    check_gradients(lambda t: F.fold(t, (4, 5), (2, 2), padding=1), draw(1, 8, 30))


def test_interpolate():
    x = np.arange(4.0).reshape(1, 1, 2, 2)
    close(F.interpolate(tensor(x), scale_factor=2)[0, 0, 0], [0, 0, 1, 1])
    up = F.interpolate(tensor(x), size=(3, 3), mode="bilinear", align_corners=True)
    close(up[0, 0], [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]])
    check_gradients(lambda t: F.interpolate(t, size=5, mode="linear"), draw(2, 2, 3))
    for bad in ({}, {"size": 2, "scale_factor": 2}, {"size": 2, "align_corners": True}):
        with pytest.raises(ValueError):
            F.interpolate(tensor(x), **bad)
    with pytest.raises(NotImplementedError):
        F.interpolate(tensor(x), size=2, mode="trilinear")


# --- attention and recurrence ---------------------------------------------------------------


def attention_reference(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)) @ v


def test_scaled_dot_product_attention():
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    args = tensor(q), tensor(k), tensor(v)
    close(F.scaled_dot_product_attention(*args), attention_reference(q, k, v))
    causal = np.tril(np.ones((5, 5), bool))
    expected = attention_reference(q, k, v, causal)
    close(F.scaled_dot_product_attention(*args, is_causal=True), expected)
    close(F.scaled_dot_product_attention(*args, tensor(causal)), expected)
    check_gradients(lambda *t: F.scaled_dot_product_attention(*t, is_causal=True), q, k, v)
    none = torch.zeros(5, 5, dtype=torch.bool)
    inputs = [tensor(a, True) for a in (q, k, v)]
    out = F.scaled_dot_product_attention(*inputs, none)
    out.sum().backward()
    assert out.abs().sum().item() == 0 and not bool(inputs[0].grad.isnan().any())
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(*args, none, is_causal=True)


def test_multihead_attention():
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double()
    x = draw(3, 5, 8)
    out, weights = layer(tensor(x), tensor(x), tensor(x))
    w = layer.in_proj_weight.detach().numpy()
    b = layer.in_proj_bias.detach().numpy()
    q, k, v = np.split(x @ w.T + b, 3, -1)
    heads = [a.reshape(3, 5, 2, 4).transpose(0, 2, 1, 3) for a in (q, k, v)]
    joined = attention_reference(*heads).transpose(0, 2, 1, 3).reshape(3, 5, 8)
    w, b = layer.out_proj.weight.detach().numpy(), layer.out_proj.bias.detach().numpy()
    expected = joined @ w.T + b
    close(out, expected)
    assert weights.shape == (3, 5, 5)
    close(weights.sum(-1), np.ones((3, 5)))
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[:, 3:] = True
    _, weights = layer(tensor(x), tensor(x), tensor(x), key_padding_mask=mask)
    assert float(weights[:, :, 3:].sum()) == 0
    with pytest.raises(AssertionError):
        nn.MultiheadAttention(8, 3)


def test_transformer_shapes():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    assert model(torch.zeros(3, 5, 8), torch.zeros(3, 4, 8)).shape == (3, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -math.inf, -math.inf], [0, 0, -math.inf], [0, 0, 0]]
    with pytest.raises(RuntimeError):
        model(torch.zeros(3, 5, 8), torch.zeros(2, 4, 8))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_against_its_equations():
    layer = nn.LSTM(3, 4).double()
    x = draw(6, 2, 3)
    w, u, b, c = (p.detach().numpy() for p in layer.parameters())
    h = cell = np.zeros((2, 4))
    outputs = []
    for t in range(6):
        i, f, g, o = np.split(x[t] @ w.T + b + h @ u.T + c, 4, -1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        outputs.append(h)
    out, (last, last_cell) = layer(tensor(x))
    close(out, np.stack(outputs))
    close(last[0], h)
    close(last_cell[0], cell)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers(kind):
    layer = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    out, state = layer(torch.zeros(2, 5, 3))
    first = state[0] if isinstance(state, tuple) else state
    assert out.shape == (2, 5, 8) and first.shape == (4, 2, 4)
    single, _ = layer(torch.zeros(5, 3))
    assert single.shape == (5, 8)
    assert len(layer.all_weights) == 4
    out.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    with pytest.raises(RuntimeError, match="input_size"):
        layer(torch.zeros(2, 5, 4))
    with pytest.raises(ValueError):
        layer(torch.zeros(5))
    with pytest.raises(ValueError):
        kind(3, 0)


def test_packed_sequences_equal_single_runs():
    from flambeau.nn.utils import rnn

    layer = nn.GRU(2, 3, bidirectional=True).double()
    sequences = [tensor(draw(length, 2)) for length in (4, 2, 5)]
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    out, last = layer(packed)
    for i, (got, sequence) in enumerate(zip(rnn.unpack_sequence(out), sequences, strict=True)):
        expected, state = layer(sequence)
        close(got, expected.detach().numpy())
        close(last[:, i], state.detach().numpy())
    padded = rnn.pad_sequence(sequences, batch_first=True, padding_value=-1.0)
    assert padded.shape == (3, 5, 2) and float(padded[1, 2:].sum()) == -6
    with pytest.raises(RuntimeError):
        rnn.pack_padded_sequence(padded, [4, 2, 5], batch_first=True)


def test_clipping_and_vectors():
    from flambeau.nn.utils import (
        clip_grad_norm_,
        clip_grad_value_,
        parameters_to_vector,
        vector_to_parameters,
    )

    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert float(clip_grad_norm_([a, b], 1.0)) == 5.0
    assert a.grad.tolist() == pytest.approx([0.6, 0.0])
    clip_grad_value_([a, b], 0.5)
    assert a.grad.tolist() == [0.5, 0.0]
    vector_to_parameters(torch.tensor([1.0, 2.0, 3.0]), [a, b])
    assert parameters_to_vector([a, b]).tolist() == [1.0, 2.0, 3.0]
    b.grad = torch.tensor([math.inf])
    with pytest.raises(RuntimeError):
        clip_grad_norm_([a, b], 1.0, error_if_nonfinite=True)
