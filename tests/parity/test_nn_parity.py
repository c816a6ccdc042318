"""Layers, functions, optimizers and schedulers against PyTorch, where it is installed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau as fl  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def to_torch(value):
    if isinstance(value, fl.Tensor):
        return torch.from_numpy(np.array(value.detach().numpy()))
    return value


def to_ours(value):
    if isinstance(value, torch.Tensor):
        out = fl.from_numpy(np.array(value.detach().numpy()))
        return out.requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(to_ours(v) for v in value)
    return value


def flatten(value):
    if isinstance(value, (fl.Tensor, torch.Tensor)):
        return [value]
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in flatten(item)]
    return []


def assert_same(ours, theirs, tolerance=2e-5):
    a, b = flatten(ours), flatten(theirs)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert tuple(x.shape) == tuple(y.shape)
        assert str(x.dtype) == str(y.dtype)
        x, y = x.detach().numpy(), y.detach().numpy()
        if y.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(x, y)


def inputs_of(shapes):
    """Draws for float shapes; ("i", high, shape) for integers, ("b", shape) for booleans."""
    torch.manual_seed(7)
    made = []
    for shape in shapes:
        if isinstance(shape, torch.Tensor):
            made.append(shape)
        elif shape and shape[0] == "i":
            made.append(torch.randint(0, shape[1], shape[2]))
        elif shape and shape[0] == "b":
            made.append(torch.rand(shape[1]) > 0.5)
        elif shape and shape[0] == "u":
            made.append(torch.rand(shape[1]).requires_grad_())
        elif shape and shape[0] == "s":  # signs
            made.append(torch.sign(torch.randn(shape[1])))
        else:
            made.append(torch.randn(shape, requires_grad=True))
    return made


def backward(out):
    """The gradient of a sum with uneven weights, so that no term cancels."""
    total = None
    for leaf in flatten(out):
        if leaf.requires_grad:
            module = fl if isinstance(leaf, fl.Tensor) else torch
            weight = module.arange(leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape) % 5 - 1.5
            part = (leaf * weight).sum()
            total = part if total is None else total + part
    if total is not None:
        total.backward()


def compare(call_ours, call_theirs, shapes, tolerance=2e-5, seed=True):
    theirs_in = inputs_of(shapes)
    ours_in = [to_ours(x) for x in theirs_in]
    fl.manual_seed(3)
    ours = call_ours(*ours_in)
    torch.manual_seed(3)
    theirs = call_theirs(*theirs_in)
    assert_same(ours, theirs, tolerance)
    backward(ours)
    backward(theirs)
    for x, y in zip(ours_in, theirs_in, strict=True):
        assert (x.grad is None) == (y.grad is None)
        if y.grad is not None:
            assert_same(x.grad, y.grad, 10 * tolerance)


class Args:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def __repr__(self):
        return ", ".join([*map(str, self.args), *(f"{k}={v}" for k, v in self.kwargs.items())])


A = Args
LAYERS = [
    ("Identity", A(3), [(2, 3)]),
    ("Linear", A(3, 4), [(2, 3)]),
    ("Linear", A(3, 4, bias=False), [(5, 2, 3)]),
    ("Bilinear", A(3, 4, 5), [(2, 3), (2, 4)]),
    ("Flatten", A(), [(2, 3, 4)]),
    ("Unflatten", A(1, (2, 3)), [(2, 6)]),
    ("Dropout", A(0.4), [(6, 7)]),
    ("Dropout1d", A(0.4), [(6, 7, 2)]),
    ("Dropout2d", A(0.4), [(6, 7, 2, 2)]),
    ("Dropout3d", A(0.4), [(6, 7, 2, 2, 2)]),
    ("AlphaDropout", A(0.4), [(6, 7)]),
    ("FeatureAlphaDropout", A(0.4), [(6, 7, 2)]),
    ("ReLU", A(), [(6, 7)]),
    ("ReLU6", A(), [(6, 7)]),
    ("LeakyReLU", A(0.2), [(6, 7)]),
    ("PReLU", A(), [(6, 7)]),
    ("PReLU", A(7, 0.3), [(6, 7, 2)]),
    ("ELU", A(1.5), [(6, 7)]),
    ("SELU", A(), [(6, 7)]),
    ("CELU", A(1.5), [(6, 7)]),
    ("GELU", A(), [(6, 7)]),
    ("GELU", A("tanh"), [(6, 7)]),
    ("SiLU", A(), [(6, 7)]),
    ("Mish", A(), [(6, 7)]),
    ("Softplus", A(2.0, 3.0), [(6, 7)]),
    ("Softsign", A(), [(6, 7)]),
    ("Softmax", A(1), [(6, 7)]),
    ("Softmax2d", A(), [(2, 6, 7, 3)]),
    ("LogSoftmax", A(0), [(6, 7)]),
    ("Softmin", A(-1), [(6, 7)]),
    ("Sigmoid", A(), [(6, 7)]),
    ("LogSigmoid", A(), [(6, 7)]),
    ("Tanh", A(), [(6, 7)]),
    ("Tanhshrink", A(), [(6, 7)]),
    ("Hardtanh", A(-0.5, 0.7), [(6, 7)]),
    ("Hardsigmoid", A(), [(6, 7)]),
    ("Hardswish", A(), [(6, 7)]),
    ("Threshold", A(0.1, 20.0), [(6, 7)]),
    ("Softshrink", A(0.3), [(6, 7)]),
    ("Hardshrink", A(0.3), [(6, 7)]),
    ("GLU", A(), [(6, 8)]),
    ("RReLU", A(), [(6, 7)]),
    ("Conv1d", A(3, 4, 3), [(2, 3, 9)]),
    ("Conv1d", A(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), [(2, 4, 11)]),
    ("Conv2d", A(3, 4, 3), [(2, 3, 9, 8)]),
    ("Conv2d", A(3, 4, (3, 2), padding="same", bias=False), [(2, 3, 9, 8)]),
    ("Conv2d", A(3, 4, 3, padding="valid"), [(3, 9, 8)]),
    ("Conv2d", A(3, 4, 3, padding=1, padding_mode="reflect"), [(2, 3, 9, 8)]),
    ("Conv2d", A(3, 4, 3, padding="same", dilation=2, padding_mode="circular"), [(2, 3, 9, 8)]),
    ("Conv2d", A(3, 4, 3, padding=(2, 1), padding_mode="replicate"), [(2, 3, 9, 8)]),
    ("Conv3d", A(2, 3, 2, stride=(1, 2, 1), padding=1), [(2, 2, 4, 5, 6)]),
    ("ConvTranspose1d", A(3, 4, 3, stride=2), [(2, 3, 9)]),
    ("ConvTranspose2d", A(4, 6, 3, 2, 1, 1, groups=2, dilation=2), [(2, 4, 5, 6)]),
    ("ConvTranspose3d", A(2, 3, 2, bias=False), [(2, 2, 4, 5, 6)]),
    ("MaxPool1d", A(2), [(2, 3, 9)]),
    ("MaxPool1d", A(3, 2, 1, return_indices=True), [(2, 3, 9)]),
    ("MaxPool2d", A(2), [(2, 3, 9, 8)]),
    ("MaxPool2d", A(3, 2, 1, dilation=2, ceil_mode=True), [(2, 3, 9, 8)]),
    ("MaxPool2d", A(2, return_indices=True), [(2, 3, 9, 8)]),
    ("MaxPool3d", A(2), [(2, 3, 4, 5, 6)]),
    ("AvgPool1d", A(2, 1, 1), [(2, 3, 9)]),
    ("AvgPool2d", A(2), [(2, 3, 9, 8)]),
    ("AvgPool2d", A(3, 2, 1, count_include_pad=False, ceil_mode=True), [(2, 3, 9, 8)]),
    ("AvgPool2d", A(3, divisor_override=2), [(2, 3, 9, 8)]),
    ("AvgPool3d", A(2), [(2, 3, 4, 5, 6)]),
    ("LPPool1d", A(2, 3), [("u", (2, 3, 9))]),
    ("LPPool2d", A(3, 2, 1), [("u", (2, 3, 9, 8))]),
    ("AdaptiveAvgPool1d", A(4), [(2, 3, 9)]),
    ("AdaptiveAvgPool2d", A(1), [(2, 3, 9, 8)]),
    ("AdaptiveAvgPool2d", A((None, 4)), [(2, 3, 9, 8)]),
    ("AdaptiveAvgPool2d", A((4, 3)), [(2, 3, 9, 8)]),
    ("AdaptiveAvgPool3d", A(2), [(2, 3, 5, 4, 6)]),
    ("AdaptiveMaxPool1d", A(4), [(2, 3, 9)]),
    ("AdaptiveMaxPool2d", A((4, 3), return_indices=True), [(2, 3, 9, 8)]),
    ("AdaptiveMaxPool3d", A(2), [(2, 3, 5, 4, 6)]),
    ("ZeroPad1d", A(2), [(2, 3, 4)]),
    ("ZeroPad2d", A((1, 2, 0, 1)), [(2, 3, 4, 5)]),
    ("ConstantPad2d", A(1, 3.5), [(2, 3, 4, 5)]),
    ("ReflectionPad1d", A((2, 1)), [(2, 3, 4)]),
    ("ReflectionPad2d", A((1, 2, 0, 1)), [(2, 3, 4, 5)]),
    ("ReflectionPad3d", A(1), [(2, 3, 4, 5, 3)]),
    ("ReplicationPad1d", A(5), [(2, 3, 4)]),
    ("ReplicationPad2d", A((1, 2, 0, 7)), [(3, 4, 5)]),
    ("CircularPad1d", A(2), [(2, 3, 4)]),
    ("CircularPad2d", A((1, 2, 3, 4)), [(2, 3, 4, 5)]),
    ("Embedding", A(10, 4), [("i", 10, (3, 5))]),
    ("Embedding", A(10, 4, padding_idx=-2), [("i", 10, (3, 5))]),
    ("Embedding", A(10, 4, max_norm=1.0, scale_grad_by_freq=True), [("i", 10, (3, 5))]),
    ("EmbeddingBag", A(10, 4), [("i", 10, (3, 5))]),
    ("EmbeddingBag", A(10, 4, mode="sum"), [("i", 10, (7,)), torch.tensor([0, 3, 3])]),
    ("EmbeddingBag", A(10, 4, mode="max", padding_idx=2), [("i", 10, (7, 4))]),
    ("LayerNorm", A(7), [(6, 7)]),
    ("LayerNorm", A((3, 4), bias=False), [(2, 3, 4)]),
    ("LayerNorm", A(7, elementwise_affine=False), [(6, 7)]),
    ("RMSNorm", A(7), [(6, 7)]),
    ("GroupNorm", A(2, 6), [(3, 6, 4, 2)]),
    ("InstanceNorm1d", A(6), [(3, 6, 4)]),
    ("InstanceNorm2d", A(6, affine=True, track_running_stats=True), [(3, 6, 4, 2)]),
    ("InstanceNorm2d", A(6), [(6, 4, 2)]),
    ("BatchNorm1d", A(6), [(5, 6)]),
    ("BatchNorm1d", A(6, momentum=None), [(5, 6, 3)]),
    ("BatchNorm2d", A(6, affine=False), [(5, 6, 3, 2)]),
    ("BatchNorm2d", A(6, track_running_stats=False), [(5, 6, 3, 2)]),
    ("BatchNorm3d", A(3, bias=False), [(5, 3, 3, 2, 2)]),
    ("LocalResponseNorm", A(3, 0.1), [(2, 5, 3, 3)]),
    ("CosineSimilarity", A(), [(4, 5), (4, 5)]),
    ("PairwiseDistance", A(3.0, keepdim=True), [(4, 5), (4, 5)]),
    ("PixelShuffle", A(2), [(2, 8, 3, 4)]),
    ("PixelUnshuffle", A(2), [(2, 2, 6, 4)]),
    ("ChannelShuffle", A(2), [(2, 6, 3, 4)]),
    ("Upsample", A(scale_factor=2), [(2, 3, 4, 5)]),
    ("Upsample", A(size=(7, 3), mode="bilinear"), [(2, 3, 4, 5)]),
    ("Upsample", A(size=(7, 9), mode="bicubic", align_corners=True), [(2, 3, 4, 5)]),
    ("Upsample", A(scale_factor=1.6, mode="nearest-exact"), [(2, 3, 4, 5)]),
    ("Upsample", A(scale_factor=1.6, mode="bicubic"), [(2, 3, 4, 5)]),
    ("Upsample", A(scale_factor=2.5, mode="trilinear"), [(1, 2, 3, 4, 2)]),
    ("Upsample", A(size=9, mode="linear", align_corners=True), [(2, 3, 4)]),
    ("UpsamplingBilinear2d", A(scale_factor=2), [(2, 3, 4, 5)]),
    ("Unfold", A((2, 3), dilation=2, padding=1, stride=2), [(2, 3, 8, 9)]),
    ("Fold", A((5, 6), (2, 3), padding=1, stride=(2, 1)), [(2, 12, 18)]),
    ("MultiheadAttention", A(8, 2), [(5, 3, 8), (6, 3, 8), (6, 3, 8)]),
    ("MultiheadAttention", A(8, 2, batch_first=True, add_bias_kv=True), [(5, 3, 8)] * 3),
    ("MultiheadAttention", A(8, 4, kdim=3, vdim=5, bias=False), [(5, 2, 8), (4, 2, 3), (4, 2, 5)]),
    ("MultiheadAttention", A(8, 2, add_zero_attn=True), [(5, 8)] * 3),
    ("TransformerEncoderLayer", A(8, 2, 16, dropout=0.0), [(5, 3, 8)]),
    ("TransformerEncoderLayer", A(8, 2, 16, 0.0, "gelu", norm_first=True), [(5, 3, 8)]),
    ("TransformerDecoderLayer", A(8, 2, 16, 0.0, batch_first=True), [(3, 5, 8), (3, 4, 8)]),
    ("Transformer", A(8, 2, 2, 2, 16, 0.0), [(5, 3, 8), (4, 3, 8)]),
    ("RNN", A(3, 4), [(5, 2, 3)]),
    ("RNN", A(3, 4, 2, nonlinearity="relu", batch_first=True), [(2, 5, 3), (2, 2, 4)]),
    ("LSTM", A(3, 4), [(5, 2, 3)]),
    ("LSTM", A(3, 4, 2, bidirectional=True, bias=False), [(5, 2, 3)]),
    ("LSTM", A(3, 4, 2, proj_size=2), [(5, 3)]),
    ("GRU", A(3, 4, 2, batch_first=True, bidirectional=True), [(2, 5, 3)]),
    ("RNNCell", A(3, 4), [(2, 3)]),
    ("LSTMCell", A(3, 4), [(2, 3)]),
    ("GRUCell", A(3, 4), [(2, 3), (2, 4)]),
    ("MSELoss", A(), [(4, 5), (4, 5)]),
    ("MSELoss", A(reduction="none"), [(4, 5), (4, 5)]),
    ("L1Loss", A(reduction="sum"), [(4, 5), (4, 5)]),
    ("SmoothL1Loss", A(beta=0.5), [(4, 5), (4, 5)]),
    ("HuberLoss", A(delta=0.5), [(4, 5), (4, 5)]),
    ("CrossEntropyLoss", A(), [(4, 5), ("i", 5, (4,))]),
    ("CrossEntropyLoss", A(), [(5,), ("i", 5, ())]),
    ("CrossEntropyLoss", A(ignore_index=2, label_smoothing=0.1), [(8, 5), ("i", 5, (8,))]),
    ("CrossEntropyLoss", A(reduction="none"), [(4, 5, 3), ("i", 5, (4, 3))]),
    ("CrossEntropyLoss", A(label_smoothing=0.1), [(4, 5), ("u", (4, 5))]),
    ("NLLLoss", A(ignore_index=1), [(8, 5), ("i", 5, (8,))]),
    ("NLLLoss", A(reduction="sum"), [(4, 5, 3, 2), ("i", 5, (4, 3, 2))]),
    ("BCELoss", A(), [("u", (4, 5)), ("u", (4, 5))]),
    ("BCEWithLogitsLoss", A(), [(4, 5), ("u", (4, 5))]),
    ("KLDivLoss", A(reduction="batchmean"), [(4, 5), ("u", (4, 5))]),
    ("KLDivLoss", A(reduction="sum", log_target=True), [(4, 5), (4, 5)]),
    ("PoissonNLLLoss", A(full=True), [(4, 5), torch.arange(20.0).reshape(4, 5)]),
    ("PoissonNLLLoss", A(log_input=False), [("u", (4, 5)), ("u", (4, 5))]),
    ("GaussianNLLLoss", A(full=True), [(4, 5), (4, 5), ("u", (4, 1))]),
    ("HingeEmbeddingLoss", A(), [(4, 5), ("s", (4, 5))]),
    ("MarginRankingLoss", A(0.2), [(4,), (4,), ("s", (4,))]),
    ("CosineEmbeddingLoss", A(0.2), [(4, 5), (4, 5), ("s", (4,))]),
    ("TripletMarginLoss", A(swap=True), [(4, 5), (4, 5), (4, 5)]),
    ("SoftMarginLoss", A(), [(4, 5), ("s", (4, 5))]),
    ("MultiMarginLoss", A(p=2), [(4, 5), ("i", 5, (4,))]),
    ("MultiLabelMarginLoss", A(), [(2, 4), torch.tensor([[3, 0, -1, 1], [1, 2, 3, -1]])]),
    ("MultiLabelSoftMarginLoss", A(), [(4, 5), ("u", (4, 5))]),
]


@pytest.mark.parametrize("name, arguments, shapes", LAYERS, ids=lambda v: str(v)[:50])
def test_layer(name, arguments, shapes):
    fl.manual_seed(11)
    ours = getattr(fl.nn, name)(*arguments.args, **arguments.kwargs)
    torch.manual_seed(11)
    theirs = getattr(torch.nn, name)(*arguments.args, **arguments.kwargs)
    assert repr(ours) == repr(theirs)
    our_state, their_state = ours.state_dict(), theirs.state_dict()
    assert list(our_state) == list(their_state)
    assert our_state._metadata == their_state._metadata
    for key, value in their_state.items():
        np.testing.assert_array_equal(our_state[key].numpy(), value.numpy(), err_msg=key)
    if "RNN" in name or "LSTM" in name or "GRU" in name or "Transformer" in name:
        tolerance = 2e-4
    else:
        tolerance = 2e-5
    compare(ours, theirs, shapes, tolerance)
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), key
        if q.grad is not None:
            assert_same(p.grad, q.grad, 10 * tolerance)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert_same(p, q)
    if name == "RReLU":
        return
    compare(ours.eval(), theirs.eval(), shapes, tolerance)


FUNCTIONS = [
    ("normalize", A(), [(3, 4)]),
    ("scaled_dot_product_attention", A(), [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)]),
    ("scaled_dot_product_attention", A(is_causal=True), [(2, 3, 5, 4)] * 3),
    ("scaled_dot_product_attention", A(scale=0.3), [(5, 4), (6, 4), (6, 2), ("b", (5, 6))]),
    ("scaled_dot_product_attention", A(), [(5, 4), (6, 4), (6, 2), (5, 6)]),
    ("scaled_dot_product_attention", A(enable_gqa=True), [(2, 4, 5, 4)] + [(2, 2, 5, 4)] * 2),
    ("gumbel_softmax", A(), [(4, 5)]),
    ("gumbel_softmax", A(hard=True, tau=0.5), [(4, 5)]),
    ("interpolate", A(size=(3, 4), mode="area"), [(2, 3, 7, 9)]),
    ("interpolate", A(scale_factor=0.5), [(2, 3, 7, 9)]),
    ("pad", A((1, 2, -1, 3), value=2.0), [(3, 4, 5)]),
    ("pad", A((1, 2), mode="reflect"), [(3, 5)]),
    ("rrelu", A(training=True), [(5, 5)]),
    ("one_hot", A(num_classes=6), [("i", 5, (3,))]),
    ("cosine_similarity", A(dim=-1), [(3, 4, 5), (4, 5)]),
    ("relu", A(), [(3, 4)]),
    ("dropout2d", A(0.5), [(4, 3, 2, 2)]),
    ("unfold", A(2), [(3, 5, 5)]),
    ("adaptive_avg_pool2d", A(3), [(3, 5, 5)]),
    ("huber_loss", A(), [(3, 4), (3, 4)]),
]


@pytest.mark.parametrize("name, arguments, shapes", FUNCTIONS, ids=lambda v: str(v)[:50])
def test_function(name, arguments, shapes):
    def call(module):
        function = getattr(module.nn.functional, name)
        return lambda *inputs: function(*inputs, *arguments.args, **arguments.kwargs)

    compare(call(fl), call(torch), shapes)


def test_masked_attention_row_gives_zeros():
    mask = torch.tensor([[True, False], [False, False]])
    compare(
        lambda *x: fl.nn.functional.scaled_dot_product_attention(*x),
        lambda *x: torch.nn.functional.scaled_dot_product_attention(*x),
        [(2, 4), (2, 4), (2, 3), mask],
    )


@pytest.mark.parametrize("mode", ["RNN", "LSTM", "GRU"])
def test_packed_sequences(mode):
    torch.manual_seed(1)
    x, lengths = torch.randn(5, 3, 2), [2, 5, 3]
    results = []
    for module, value in ((fl, to_ours(x)), (torch, x)):
        module.manual_seed(2)
        layer = getattr(module.nn, mode)(2, 4, 2, bidirectional=True)
        rnn = module.nn.utils.rnn
        packed = rnn.pack_padded_sequence(value, lengths, enforce_sorted=False)
        out, state = layer(packed)
        results.append([packed.data, packed.batch_sizes, *rnn.pad_packed_sequence(out), state])
    assert_same(*results, 1e-4)


INITS = [
    ("uniform_", A(-1, 2)),
    ("normal_", A(1.0, 0.5)),
    ("trunc_normal_", A(0.0, 1.0, -1.5, 2.0)),
    ("constant_", A(0.5)),
    ("ones_", A()),
    ("zeros_", A()),
    ("xavier_uniform_", A(1.5)),
    ("xavier_normal_", A()),
    ("kaiming_uniform_", A(nonlinearity="relu")),
    ("kaiming_normal_", A(mode="fan_out")),
    ("sparse_", A(0.3)),
    ("eye_", A()),
    ("orthogonal_", A(1.2)),
]


@pytest.mark.parametrize("name, arguments", INITS, ids=lambda v: str(v)[:50])
@pytest.mark.parametrize("shape", [(6, 5), (4, 7)])
def test_init(name, arguments, shape):
    values = []
    for module in (fl, torch):
        module.manual_seed(5)
        tensor = module.empty(shape)
        values.append(getattr(module.nn.init, name)(tensor, *arguments.args, **arguments.kwargs))
    tolerance = 1e-5 if name in ("orthogonal_", "trunc_normal_") else 0
    assert_same(*values, tolerance)


def test_dirac():
    for groups in (1, 2):
        ours = fl.nn.init.dirac_(fl.empty(4, 2, 3, 3), groups)
        theirs = torch.nn.init.dirac_(torch.empty(4, 2, 3, 3), groups)
        assert_same(ours, theirs)
