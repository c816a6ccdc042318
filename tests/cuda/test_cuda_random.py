"""Random numbers on the GPU: values against a model in NumPy and against what PyTorch printed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from nvrtc import compile_source
from philox_model import (
    SEED,
    Model,
    model,
    normal_doubles,
    philox,
    uniform_doubles,
    unit_floats,
    whole_words,
    words,
)

import flambeau as torch

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# More than four elements for each thread of the emulated GPU, and not a multiple of anything.
MANY = 40001


def offset() -> int:
    return torch.cuda.default_generators[0].get_offset()


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


# Known answers -----------------------------------------------------------------------------------


def test_model_gives_the_known_answers_of_philox() -> None:
    """Known-answer vectors of Philox4x32-10 (Random123, kat_vectors)."""
    counters = np.array(
        [[0] * 4, [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]],
        dtype=np.uint32,
    )
    keys = [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0xA4093822, 0x299F31D0)]
    answers = [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]
    for counter, key, answer in zip(counters, keys, answers, strict=True):
        assert philox(counter[None], key)[0].tolist() == answer


def test_gpu_gives_the_known_answers_of_philox() -> None:
    torch.manual_seed(0)  # counter 0, key 0: the first element is the first word
    first = torch.empty(2, dtype=torch.int64, device="cuda").random_(0, 2**62)
    whole = 0x6627E8D5 << 32 | 0xE169C58D
    assert first[0].item() == whole % 2**62
    generator = torch.Generator("cuda").manual_seed(2**64 - 1)
    generator.set_offset(2**64 - 4)  # counter 0x3FFFFFFF FFFFFFFF, thread 0
    drawn = torch.randint(2**20, (1,), device="cuda", generator=generator).item()
    expected = words(2**64 - 1, 2**64 - 4, np.zeros(1), np.zeros(1))[0, 0]
    assert drawn == expected % 2**20


def test_values_that_pytorch_prints_on_gpus() -> None:
    """Of torch.manual_seed(0) and 42 on NVIDIA's GPUs, as found in public notebooks."""
    torch.manual_seed(0)
    first, second = torch.rand(10, device="cuda"), torch.rand(10, device="cuda")
    assert np.round(array(first), 4).tolist() == pytest.approx(
        [0.3990, 0.5167, 0.0249, 0.9401, 0.9459, 0.7967, 0.4150, 0.8203, 0.2290, 0.9096]
    )
    assert np.round(array(second), 4).tolist() == pytest.approx(
        [0.9722, 0.7910, 0.4690, 0.3300, 0.3345, 0.3783, 0.7640, 0.6405, 0.1103, 0.3594]
    )
    torch.manual_seed(0)
    normal = torch.randn(8, 8, device="cuda").reshape(-1)
    assert np.round(array(normal[:8]), 4).tolist() == pytest.approx(
        [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284]
    )
    assert np.round(array(normal[-8:]), 4).tolist() == pytest.approx(
        [-0.5499, -0.3231, -0.5469, 0.9049, 0.2837, 0.1210, 0.4730, -1.0823]
    )


# Distributions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 255, 257, MANY])
def test_uniform_and_normal(count: int) -> None:
    expected = model()
    for _ in range(2):  # the second starts where the first has ended
        drawn = array(torch.rand(count, device="cuda"))
        uniform = expected.uniform(count)
        assert (drawn == np.where(uniform == 1, 0, uniform)).all()
        assert offset() == expected.offset
    for _ in range(2):
        normal = array(torch.randn(count, device="cuda"))
        assert np.allclose(normal, expected.normal(count), rtol=2e-6, atol=2e-6)
    assert offset() == expected.offset


def test_doubles_come_in_pairs() -> None:
    expected = model()
    drawn = torch.rand(MANY, device="cuda", dtype=torch.float64)
    assert (array(drawn) == expected.over_grid(MANY, 2, uniform_doubles)).all()
    drawn = torch.randn(MANY, device="cuda", dtype=torch.float64)
    normal = expected.over_grid(MANY, 2, normal_doubles)
    assert np.allclose(array(drawn), normal, rtol=1e-13, atol=1e-13)
    assert offset() == expected.offset


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_rounded_floats(dtype: torch.dtype) -> None:
    model()
    exact = torch.rand(5000, device="cuda")
    torch.manual_seed(SEED)
    short = torch.rand(5000, device="cuda", dtype=dtype)
    rounded = exact.to(dtype)
    assert torch.equal(short, torch.where(rounded == 1, 0, rounded))
    assert float(short.max()) < 1
    torch.manual_seed(SEED)
    exact = torch.randn(5000, device="cuda")
    torch.manual_seed(SEED)
    assert torch.equal(torch.randn(5000, device="cuda", dtype=dtype), exact.to(dtype))


def test_uniform_between() -> None:
    expected = model().uniform(1000)
    drawn = array(torch.empty(1000, device="cuda").uniform_(-3, 5))
    assert np.allclose(drawn, expected * 8 - 3, rtol=0, atol=5e-7)
    assert (array(torch.empty(9, device="cuda").uniform_(2.0, 2.0)) == 2).all()


def test_whole_numbers_from_32_and_64_bits() -> None:
    expected = model()
    drawn = torch.randint(-5, 12, (MANY,), device="cuda")
    bits = expected.over_grid(MANY, 4, lambda words: words)
    assert (array(drawn) == bits.astype(np.int64) % 17 - 5).all()
    drawn = torch.randint(0, 2**28, (MANY,), device="cuda", dtype=torch.int32)
    wide = expected.over_grid(MANY, 2, whole_words)
    assert (array(drawn) == (wide % np.uint64(2**28)).astype(np.int32)).all()
    drawn = torch.empty(MANY, device="cuda", dtype=torch.int64).random_(-(2**63), None)
    assert (array(drawn) == expected.over_grid(MANY, 2, whole_words).view(np.int64)).all()
    assert offset() == expected.offset


@pytest.mark.parametrize(
    ("dtype", "digits", "closed"),
    [
        (torch.bool, 1, 0),
        (torch.uint8, 8, 0),
        (torch.int8, 7, 0),
        (torch.int16, 15, 0),
        (torch.int32, 31, 0),
        (torch.int64, 63, 0),
        (torch.float16, 11, 1),
        (torch.bfloat16, 8, 1),
        (torch.float32, 24, 1),
        (torch.float64, 53, 1),
    ],
)
def test_random_without_bounds(dtype: torch.dtype, digits: int, closed: int) -> None:
    expected = model()
    drawn = torch.empty(3000, device="cuda", dtype=dtype).random_()
    wide = dtype in (torch.int64, torch.float64)
    bits = expected.over_grid(3000, 2 if wide else 4, whole_words if wide else lambda w: w)
    values = bits.astype(np.uint64) % np.uint64(2**digits + closed)
    assert (array(drawn.to(torch.float64)) == values.astype(np.float64)).all()


def test_transformed_distributions() -> None:
    count = 20001

    def unit(expected: Model) -> np.ndarray:
        return expected.uniform(count).astype(np.float64)

    expected = model()
    drawn = array(torch.empty(count, device="cuda").exponential_(2.5))
    assert np.allclose(drawn, -np.log(unit(expected)) / 2.5, rtol=1e-5, atol=1e-7)
    assert (drawn > 0).all()
    drawn = array(torch.empty(count, device="cuda").log_normal_(0.5, 0.25))
    assert np.allclose(drawn, np.exp(0.5 + 0.25 * expected.normal(count)), rtol=1e-5)
    drawn = array(torch.empty(count, device="cuda").cauchy_(1.0, 2.0))
    value = unit(expected)
    near = np.abs(value - 0.5) < 0.4  # an angle in single precision, times 1 + tan^2 < 11
    tangent = np.tan(np.pi * (value - 0.5))
    assert np.abs(drawn - (1 + 2 * tangent))[near].max() < 2 * 11 * 2.0**-22
    drawn = array(torch.empty(count, device="cuda", dtype=torch.int32).geometric_(0.3))
    exact = np.log(unit(expected)) / math.log(0.7)
    clear = np.abs(exact - np.round(exact)) > 1e-4
    assert (drawn[clear] == np.ceil(exact)[clear]).all()
    drawn = array(torch.empty(count, device="cuda").bernoulli_(0.3))
    assert (drawn == (expected.uniform(count) < np.float32(0.3))).all()
    assert offset() == expected.offset


def test_exponential_is_never_zero() -> None:
    # Thread 0 of this seed would give the logarithm of a number next to 1 sooner or later; what
    # counts is the formula at the end of the range, so look at many.
    torch.manual_seed(3)
    drawn = torch.empty(300000, device="cuda", dtype=torch.float16).exponential_()
    assert float(drawn.min()) >= 0
    assert float(torch.empty(300000, device="cuda").exponential_().min()) > 0


def test_bernoulli_of_a_tensor_of_probabilities() -> None:
    count = 5001
    expected = model()
    probabilities = torch.linspace(0, 1, count, device="cuda")
    drawn = torch.bernoulli(probabilities)
    place = np.arange(count)
    unit = unit_floats(words(SEED, 0, place // 4, np.zeros(count)))[place, place % 4]
    assert (array(drawn) == (unit <= array(probabilities))).all()
    assert offset() == 12
    expected.offset = 12
    target = torch.empty(2, 3, device="cuda", dtype=torch.int64)
    target.bernoulli_(torch.tensor([0.0, 1.0, 0.5], device="cuda"))
    assert array(target[:, :2]).tolist() == [[0, 1], [0, 1]]


def test_strided_targets_are_filled_in_the_order_of_memory() -> None:
    expected = model()
    target = torch.zeros(7, 5, device="cuda").t()
    target.uniform_()
    assert (array(target.t()).reshape(-1) == expected.uniform(35)).all()
    every_second = torch.zeros(6, 8, device="cuda")
    every_second[:, ::2].uniform_()
    assert (array(every_second[:, ::2]).reshape(-1) == expected.uniform(24)).all()
    assert (array(every_second[:, 1::2]) == 0).all()
    like = torch.rand_like(torch.empty(4, 3, device="cuda").t())
    assert like.stride() == (1, 3)
    assert (array(like.t()).reshape(-1) == expected.uniform(12)).all()
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.zeros(1, device="cuda").expand(4).uniform_()


def test_permutations_sort_random_keys() -> None:
    for count in (1, 2, 10, 3000, 40000):
        expected = model()
        drawn = array(torch.randperm(count, device="cuda"))
        assert sorted(drawn.tolist()) == list(range(count))
        bits = min(64, math.ceil(math.log2(count - (6 * count**2 + 1) / (12 * math.log(0.9)))))
        wide = expected.over_grid(count, 2, whole_words)
        if bits <= 32:
            keys = (wide % np.uint64(2**32 - 1)).astype(np.int64) - 2**31
            keys = keys.astype(np.int32).astype(np.int64)
            width = 32
        else:
            keys = (wide % np.uint64(2**64 - 1) + np.uint64(2**63)).view(np.int64)
            width = 64
        if bits < width:
            keys &= 2**bits - 1
        if len(set(keys.tolist())) == count:
            assert (drawn == np.argsort(keys, kind="stable")).all()
        assert (keys[drawn][1:] >= keys[drawn][:-1]).all()
        expected.offset += -(-count // 4) * 4
        assert offset() == expected.offset
    assert torch.randperm(5, device="cuda", dtype=torch.float16).dtype == torch.float16
    assert torch.randperm(0, device="cuda").shape == (0,)


# Dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "count", "lanes"),
    [
        (torch.float32, 40000, 4),
        (torch.float32, 1002, 2),
        (torch.float32, 1001, 1),
        (torch.float16, 70000, 8),
        (torch.float64, 40000, 2),
    ],
)
def test_dropout_draws_as_the_fused_kernel(dtype: torch.dtype, count: int, lanes: int) -> None:
    expected = model()
    drawn = torch.nn.functional.dropout(torch.ones(count, device="cuda", dtype=dtype), 0.25)
    unit = expected.uniform(count) if lanes == 1 else expected.side_by_side(count, lanes)
    keep = np.float32(0.75)
    scale = torch.tensor(1 / 0.75, dtype=dtype).item()
    assert (array(drawn.double()) == np.where(unit < keep, scale, 0)).all()
    assert offset() == expected.offset


def test_dropout_of_other_layouts() -> None:
    expected = model()
    ones = torch.ones(64, 48, device="cuda")
    drawn = torch.nn.functional.dropout(ones.t(), 0.5)
    dense = expected.side_by_side(64 * 48, 4)
    assert (array(drawn.t()).reshape(-1) == np.where(dense < 0.5, 2, 0)).all()
    drawn = torch.nn.functional.dropout(ones[:, ::2], 0.5)  # not dense: in the order of indices
    assert (array(drawn).reshape(-1) == np.where(expected.uniform(64 * 24) < 0.5, 2, 0)).all()
    shifted = torch.ones(1025, device="cuda")[1:]  # an address that only single elements fit
    drawn = torch.nn.functional.dropout(shifted, 0.5)
    assert (array(drawn) == np.where(expected.uniform(1024) < 0.5, 2, 0)).all()
    drawn = torch.nn.functional.dropout(torch.ones(999, device="cuda"), 0.5, inplace=True)
    assert (array(drawn) == np.where(expected.uniform(999) < 0.5, 2, 0)).all()
    before = offset()
    assert array(torch.nn.functional.dropout(ones, 1.0)).max() == 0
    assert torch.nn.functional.dropout(ones, 0.5, training=False) is ones
    assert offset() == before == expected.offset


def test_gradient_of_dropout_and_its_relatives() -> None:
    functional = torch.nn.functional
    x = torch.randn(8, 6, 4, 4, device="cuda", requires_grad=True)
    y = functional.dropout(x, 0.4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient != 0, y != 0)
    for name in ("dropout2d", "alpha_dropout", "feature_alpha_dropout", "rrelu"):
        arguments: dict[str, Any] = {"training": True}
        if name != "rrelu":
            arguments["p"] = 0.4
        y = getattr(functional, name)(x, **arguments)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.device == gradient.device == x.device
        assert y.isfinite().all() and gradient.isfinite().all()
    slopes = functional.rrelu(torch.full((1000,), -1.0, device="cuda"), 0.1, 0.3, training=True)
    assert -0.3 <= float(slopes.min()) < float(slopes.max()) <= -0.1
    chosen = functional.gumbel_softmax(torch.zeros(50, 4, device="cuda"), hard=True)
    assert (array(chosen.sum(1)) == 1).all() and len(set(array(chosen.argmax(1)).tolist())) > 1


# Multinomial -------------------------------------------------------------------------------------


def test_multinomial_with_replacement() -> None:
    expected = model()
    weights = torch.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 2.0, 0.0, 4.0]], device="cuda")
    drawn = array(torch.multinomial(weights, 300, replacement=True))
    assert drawn.shape == (2, 300) and drawn.dtype == np.int64
    place = np.arange(300)
    for row in range(2):  # a line of blocks of 128 threads for each row
        unit = unit_floats(words(SEED, 0, row * 384 + place, np.zeros(300)))[:, 0]
        cumulative = np.cumsum(array(weights)[row])
        chosen = np.searchsorted(cumulative / cumulative[-1], unit)
        assert (drawn[row] == chosen).all()
    assert offset() == 4
    assert expected.offset == 0


def test_multinomial_without_replacement() -> None:
    expected = model()
    weights = torch.tensor([0.0, 1.0, 5.0, 0.5, 2.0], device="cuda")
    drawn = torch.multinomial(weights, 4)
    noise = -np.log(expected.uniform(5).astype(np.float64))
    ratios = array(weights) / noise
    assert array(drawn).tolist() == np.argsort(-ratios)[:4].tolist()
    one = torch.multinomial(weights.expand(200, 5).half(), 1)
    assert one.shape == (200, 1) and int(one.min()) >= 1
    assert torch.multinomial(weights, 1, replacement=True).shape == (1,)


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_multinomial_reports_wrong_weights(bad: list[float]) -> None:
    with pytest.raises(RuntimeError, match="either `inf`, `nan` or element < 0"):
        torch.multinomial(torch.tensor(bad, device="cuda"), 1)
        torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="sum of probabilities <= 0"):
        torch.multinomial(torch.zeros(3, 4, device="cuda"), 2, replacement=True)
        torch.cuda.synchronize()
    torch.cuda.synchronize()  # reported once; the GPU stays usable


def test_bernoulli_reports_wrong_probabilities() -> None:
    with pytest.raises(RuntimeError, match=r"expects p to be in \[0, 1\]"):
        torch.bernoulli(torch.tensor([0.5, 1.5], device="cuda"))
        torch.cuda.synchronize()


# Sources -----------------------------------------------------------------------------------------

FLOATS = ("half_t", "bfloat_t", "float", "double")
KERNELS = [
    *(
        {"T": kind, "DISTRIBUTION": name}
        for name in ("Uniform", "Normal", "LogNormal", "Exponential", "Cauchy")
        for kind in FLOATS
    ),
    *(
        {"T": kind, "DISTRIBUTION": name}
        for name in ("Geometric", "Bernoulli")
        for kind in ("unsigned char", "long long", *FLOATS)
    ),
    *(
        {"T": kind, "WHOLE_LANES": lanes}
        for kind in ("bool", "short", "half_t", "double")
        for lanes in "24"
    ),
    *({"T": "bool", "MASK_LANES": lanes} for lanes in "1248"),
    {"T": "bool", "PROBABILITY": "float"},
    {"T": "double", "PROBABILITY": "double"},
    {"KEYS": ""},
    {"WEIGHT": "float"},
    {"WEIGHT": "double"},
]


def test_kernels_compile_with_nvrtc_without_warnings() -> None:
    files = ("cuda/prelude.cuh", "cuda/mathematics.cuh", "ops/random.cu")
    prelude, mathematics, text = (torch._core.program.cuda_file(name) for name in files)
    for kernel in KERNELS:
        defines = "".join(f"#define {name} {value}\n" for name, value in kernel.items())
        frame = 48 if "Cauchy" in kernel.values() else 32  # tan() has a table in local memory
        code, log = compile_source(prelude + mathematics + defines + text, "sm_90", frame)
        assert code[:4] == b"\x7fELF" and "warning" not in log, (kernel, log)
