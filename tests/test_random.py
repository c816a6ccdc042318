"""Random numbers: PyTorch's streams (golden values), generators, errors, gradients."""

import copy
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

import flambeau as torch

GOLDEN = json.loads((Path(__file__).parent / "data" / "random_golden.json").read_text())
FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def tensors_of(result: Any) -> list[torch.Tensor]:
    if hasattr(result, "parameters"):
        return [parameter.detach() for parameter in result.parameters()]
    return [torch.as_tensor(result).detach()]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["steps"][0]["code"][:60])
def test_golden(case: dict[str, Any]) -> None:
    torch.manual_seed(case["seed"])
    for step in case["steps"]:
        results = tensors_of(eval(step["code"], {"torch": torch}))
        assert len(results) == len(step["tensors"])
        for result, expected in zip(results, step["tensors"], strict=True):
            assert list(result.shape) == expected["shape"], step["code"]
            assert str(result.dtype) == expected["dtype"], step["code"]
            floating = result.is_floating_point()
            values = (result.double() if floating else result).reshape(-1).tolist()
            kept = values if len(values) <= 24 else values[:8] + values[-8:]
            if step["rounded"]:
                assert kept == pytest.approx(expected["values"], rel=1e-6), step["code"]
                continue
            assert kept == expected["values"], step["code"]
            packed = struct.pack(f"<{len(values)}{'d' if floating else 'q'}", *values)
            assert zlib.crc32(packed) == expected["checksum"], step["code"]


def test_result_does_not_depend_on_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = torch.randn(300001, generator=torch.Generator().manual_seed(1))
        torch.set_num_threads(2)
        two = torch.randn(300001, generator=torch.Generator().manual_seed(1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_threads_may_share_a_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    drawn: list[int] = []

    def draw() -> None:
        for _ in range(50):
            drawn.extend(torch.randint(0, 2**60, (16,), generator=generator).tolist())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = torch.Generator().manual_seed(5)
    assert sorted(drawn) == sorted(torch.randint(0, 2**60, (3200,), generator=again).tolist())


class TestGenerator:
    def test_seed(self) -> None:
        generator = torch.Generator()
        assert generator.initial_seed() == 67280421310721
        assert generator.manual_seed(5) is generator
        assert generator.initial_seed() == 5
        assert generator.manual_seed(-1).initial_seed() == 2**64 - 1
        assert generator.manual_seed(2**64 - 1).initial_seed() == 2**64 - 1
        assert generator.seed() == generator.initial_seed()
        assert generator.seed() != generator.seed()
        assert generator.device == torch.device("cpu")

    @pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
    def test_seed_too_large(self, seed: int) -> None:
        with pytest.raises(ValueError, match="2\\^64"):
            torch.Generator().manual_seed(seed)

    @pytest.mark.parametrize("seed", [1.5, "1", None])
    def test_seed_is_no_integer(self, seed: Any) -> None:
        with pytest.raises(RuntimeError, match="expected an int"):
            torch.Generator().manual_seed(seed)

    def test_nan_seed(self) -> None:
        with pytest.raises(ValueError):
            torch.manual_seed(math.nan)

    def test_state_continues(self) -> None:
        generator = torch.Generator().manual_seed(3)
        for count in (0, 1, 5, 623, 624, 700):
            torch.rand(count, generator=generator)
            torch.randn(1, generator=generator)  # leaves a second normal behind
            state = generator.get_state()
            assert state.dtype == torch.uint8 and tuple(state.shape) == (5056,)
            expected = torch.randn(7, generator=generator)
            other = torch.Generator().set_state(state)
            assert torch.equal(other.get_state(), state)
            assert torch.equal(torch.randn(7, generator=other), expected)

    def test_copies(self) -> None:
        generator = torch.Generator().manual_seed(3)
        torch.rand(10, generator=generator)
        copies = [
            generator.clone_state(),
            pickle.loads(pickle.dumps(generator)),
            copy.deepcopy(generator),
        ]
        expected = torch.rand(4, generator=generator)
        for other in copies:
            assert torch.equal(torch.rand(4, generator=other), expected)

    def test_bad_state(self) -> None:
        generator = torch.Generator()
        with pytest.raises(TypeError, match="uint8"):
            generator.set_state(torch.zeros(5056))
        with pytest.raises(TypeError, match="uint8"):
            generator.set_state(5)
        with pytest.raises(RuntimeError, match="5056"):
            generator.set_state(torch.zeros(3, dtype=torch.uint8))
        with pytest.raises(RuntimeError, match="position"):
            generator.set_state(torch.zeros(5056, dtype=torch.uint8))
        with pytest.raises(RuntimeError, match="position"):
            state = generator.get_state()
            state[16] = 255
            state[17] = 255
            generator.set_state(state)

    def test_no_cuda(self) -> None:
        code = """
import flambeau as torch
for call in (lambda: torch.Generator("cuda"), lambda: torch.rand(3, device="cuda")):
    try:
        call()
    except RuntimeError as error:
        assert "cuda" in str(error), error
    else:
        raise AssertionError("there is no GPU")
"""
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        hidden.pop("FLAMBEAU_CUDA_LIBRARIES", None)
        subprocess.run([sys.executable, "-c", code], check=True, env=hidden)

    def test_seeds_of_gpus_start_no_gpu(self) -> None:
        code = """
import flambeau as torch
torch.manual_seed(5)
torch.seed()
torch.cuda.manual_seed(6)
torch.cuda.manual_seed_all(7)
torch.cuda.seed()
with torch.random.fork_rng():
    torch.manual_seed(1)
assert not torch.cuda.is_initialized()
maps = open("/proc/self/maps").read()
assert "libcuda" not in maps and "flambeau/cuda/_" not in maps, maps
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_cpu_stream_is_not_touched_by_those_of_gpus(self) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        torch.cuda.manual_seed_all(8)
        torch.cuda.seed_all()
        assert torch.equal(torch.get_rng_state(), before)
        with pytest.raises(RuntimeError, match="has no offset"):
            torch.default_generator.get_offset()

    def test_states_of_gpus_are_kept_without_gpu(self) -> None:
        generator = torch._core.cuda_default_generator(0)
        torch.manual_seed(4)
        assert generator.initial_seed() == 4
        generator.set_offset(8)
        state = generator.get_state()
        assert state.tolist() == [4, *[0] * 7, 8, *[0] * 7]
        with torch.random.fork_rng():
            generator.manual_seed(9)
        assert torch.equal(generator.get_state(), state)
        with torch.random.fork_rng(devices=[0]):
            generator.manual_seed(9)
        assert torch.equal(generator.get_state(), state)
        with torch.random.fork_rng(device_type="cpu"):
            generator.manual_seed(9)
        assert generator.initial_seed() == 9
        assert (
            torch._core.cuda_default_generator(1).initial_seed() == 4
        )  # seeded before it was made

    def test_subclass(self) -> None:
        class Mine(torch.Generator):
            pass

        mine = Mine()
        assert torch.rand(2, generator=mine.manual_seed(1)).shape == (2,)

    def test_wrong_type(self) -> None:
        with pytest.raises(TypeError):
            torch.rand(3, generator=5)

    def test_default(self) -> None:
        assert torch.manual_seed(9) is torch.default_generator
        assert torch.initial_seed() == 9
        assert torch.seed() == torch.initial_seed()

    def test_fork_rng(self) -> None:
        torch.manual_seed(1)
        with torch.random.fork_rng():
            first = torch.rand(3)
        assert torch.equal(torch.rand(3), first)
        with torch.random.fork_rng(enabled=False):
            second = torch.rand(3)
        assert not torch.equal(torch.rand(3), second)


class TestForms:
    def test_size(self) -> None:
        for args in ((2, 3), ((2, 3),), ([2, 3],), (torch.Size([2, 3]),)):
            assert torch.rand(*args).shape == (2, 3)
        assert torch.rand(size=(2, 3)).shape == (2, 3)
        assert torch.rand(()).shape == ()
        assert torch.rand(0, 3).shape == (0, 3)
        assert torch.randint(10, (2,)).shape == (2,)
        assert torch.randint(high=10, size=(2,)).shape == (2,)
        assert torch.randint(low=3, high=10, size=(2,)).shape == (2,)

    def test_options(self) -> None:
        assert torch.rand(2, dtype=torch.float64).dtype == torch.float64
        assert torch.rand(2, requires_grad=True).requires_grad
        assert torch.randint(5, (2,)).dtype == torch.int64
        with pytest.raises(RuntimeError, match="floating"):
            torch.randint(5, (2,), requires_grad=True)

    def test_out(self) -> None:
        out = torch.zeros(3, dtype=torch.float64)
        expected = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert torch.rand(3, out=out, generator=torch.Generator().manual_seed(1)) is out
        assert torch.equal(out, expected)
        assert torch.randn(5, out=torch.empty(0)).shape == (5,)
        assert torch.randperm(4, out=torch.empty(0, dtype=torch.int64)).shape == (4,)
        with pytest.raises(RuntimeError, match="dtype"):
            torch.rand(3, out=out, dtype=torch.float32)

    def test_like(self) -> None:
        like = torch.zeros(3, 4, dtype=torch.float64)
        for make in (torch.rand_like, torch.randn_like):
            assert make(like).dtype == torch.float64
            assert make(like, dtype=torch.float32).dtype == torch.float32
            assert make(like.t()).shape == (4, 3)
        assert set(torch.randint_like(like, 3, 5).reshape(-1).tolist()) <= {3.0, 4.0}
        assert torch.randint_like(like, 3, dtype=torch.int64).dtype == torch.int64

    @pytest.mark.parametrize("dtype", FLOATING)
    def test_into_views(self, dtype: torch.dtype) -> None:
        base = torch.full((6, 8), -7.0, dtype=dtype)
        base[1:5, ::2].uniform_()
        assert ((base[1:5, ::2] >= 0) & (base[1:5, ::2] < 1)).all()
        assert (base[:, 1::2] == -7).all() and (base[0] == -7).all()

    def test_permutation(self) -> None:
        assert sorted(torch.randperm(1000).tolist()) == list(range(1000))
        assert torch.randperm(0).shape == (0,)

    @pytest.mark.parametrize("dtype", WHOLE)
    def test_random_bounds(self, dtype: torch.dtype) -> None:
        values = torch.empty(500, dtype=dtype).random_(3, 6)
        assert set(values.tolist()) == {3, 4, 5}

    def test_whole_range(self) -> None:
        values = torch.empty(1000, dtype=torch.int64).random_(-(2**63), None)
        assert values.min() < -(2**61) and values.max() > 2**61

    @pytest.mark.parametrize("dtype", FLOATING)
    def test_moments(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(2)
        count = 20000

        def mean(tensor: torch.Tensor) -> float:
            return tensor.double().mean().item()

        empty = torch.empty(count, dtype=dtype)
        assert mean(empty.uniform_(2, 4, generator=generator)) == pytest.approx(3, abs=0.03)
        assert mean(empty.normal_(2, 3, generator=generator)) == pytest.approx(2, abs=0.1)
        assert empty.double().std().item() == pytest.approx(3, abs=0.1)
        assert mean(empty.exponential_(2, generator=generator)) == pytest.approx(0.5, abs=0.03)
        assert mean(empty.geometric_(0.25, generator=generator)) == pytest.approx(4, abs=0.1)
        assert mean(empty.bernoulli_(0.25, generator=generator)) == pytest.approx(0.25, abs=0.02)
        assert mean(empty.log_normal_(0, 0.5, generator=generator)) == pytest.approx(1.13, abs=0.05)
        assert empty.cauchy_(2, generator=generator).double().median().item() == pytest.approx(
            2, abs=0.1
        )


class TestMultinomial:
    def test_without_replacement(self) -> None:
        weights = torch.tensor([[1.0, 0.0, 2.0, 3.0], [4.0, 4.0, 0.0, 1.0]])
        drawn = torch.multinomial(weights, 3)
        assert [sorted(row) for row in drawn.tolist()] == [[0, 2, 3], [0, 1, 3]]

    def test_frequencies(self) -> None:
        weights = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
        drawn = torch.multinomial(weights, 4000, replacement=True)
        assert (drawn == 1).sum() == 0
        assert (drawn == 2).sum().item() == pytest.approx(3000, abs=120)

    def test_strided(self) -> None:
        weights = torch.eye(4)[:, ::2]
        assert torch.multinomial(weights[::2], 1).reshape(-1).tolist() == [0, 1]

    def test_no_rows(self) -> None:
        assert torch.multinomial(torch.ones(0, 3), 2).shape == (0, 2)

    @pytest.mark.parametrize(
        "weights, samples, replacement",
        [
            ([1.0, -1.0], 1, False),
            ([1.0, math.nan], 2, True),
            ([1.0, math.inf], 1, False),
            ([0.0, 0.0], 1, False),
            ([0.0, 0.0], 2, True),
            ([1.0, 2.0], 3, False),
            ([1.0, 2.0], 0, False),
            ([1.0, 2.0], -1, True),
            (1.0, 1, False),
            ([[[1.0]]], 1, False),
            ([1, 2], 1, False),
            ([], 1, True),
            ([[], []], 1, True),
        ],
    )
    def test_bad(self, weights: Any, samples: int, replacement: bool) -> None:
        with pytest.raises(RuntimeError, match="multinomial"):
            torch.multinomial(torch.tensor(weights), samples, replacement)


class TestDropout:
    def test_forward_and_gradient(self) -> None:
        x = torch.randn(64, dtype=torch.float64, requires_grad=True)
        y = torch.dropout(x, 0.25, True)
        kept = y != 0
        assert 30 < kept.sum().item() < 62
        assert torch.allclose(y, x.detach() * kept / 0.75)
        assert y.grad_fn.name() == "MulBackward0"
        y.sum().backward()
        assert torch.allclose(x.grad, kept.double() / 0.75)

    def test_nothing_to_do(self) -> None:
        x = torch.ones(3)
        assert torch.dropout(x, 0.5, False) is x
        assert torch.dropout(x, 0.0, True) is x

    def test_certain(self) -> None:
        assert torch.dropout(torch.ones(3), 1.0, True).tolist() == [0, 0, 0]

    def test_in_place(self) -> None:
        x = torch.ones(100)
        assert torch.dropout_(x, 0.5, True) is x
        assert set(x.tolist()) == {0.0, 2.0}

    def test_transposed(self) -> None:
        x = torch.arange(1.0, 13.0).reshape(3, 4).t()
        y = torch.dropout(x, 0.5, True)
        assert y.shape == (4, 3)
        assert ((y == 0) | (y == 2 * x)).all()

    @pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
    def test_bad(self, p: float) -> None:
        with pytest.raises(RuntimeError, match="between 0 and 1"):
            torch.dropout(torch.ones(3), p, True)

    def test_integers(self) -> None:
        with pytest.raises(RuntimeError, match="floating"):
            torch.dropout(torch.ones(3, dtype=torch.int64), 0.5, True)


class TestAutograd:
    def test_leaf_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match="leaf"):
            torch.zeros(3, requires_grad=True).uniform_()

    def test_fill_stops_the_gradient(self) -> None:
        x = torch.ones(3, requires_grad=True)
        y = x * 2
        y.normal_()
        assert y.requires_grad
        y.sum().backward()
        assert x.grad.tolist() == [0, 0, 0]

    def test_version_counts(self) -> None:
        x = torch.ones(3)
        before = x._version
        x.exponential_()
        assert x._version == before + 1

    def test_bernoulli(self) -> None:
        p = torch.full((4,), 0.5, requires_grad=True)
        torch.bernoulli(p).sum().backward()
        assert p.grad.tolist() == [0, 0, 0, 0]


NAN = math.nan
BAD_CALLS = [
    ("x.normal_(0, -1)", RuntimeError, "std"),
    ("x.normal_(0, NAN)", RuntimeError, "std"),
    ("n.normal_()", NotImplementedError, "normal"),
    ("x.uniform_(2, 1)", RuntimeError, "from"),
    ("x.uniform_(NAN, 1)", RuntimeError, "out of bounds"),
    ("x.uniform_(-3e38, 3e38)", RuntimeError, "to - from"),
    ("x.half().uniform_(0, 1e6)", RuntimeError, "out of bounds"),
    ("n.uniform_()", NotImplementedError, "uniform_"),
    ("x.random_(5, 3)", RuntimeError, "less than"),
    ("x.random_(0)", RuntimeError, "less than"),
    ("n.to(torch.uint8).random_(0, 257)", RuntimeError, "out of bounds"),
    ("n.to(torch.int8).random_(-129, 5)", RuntimeError, "out of bounds"),
    ("x.half().random_(0, 70000)", RuntimeError, "out of bounds"),
    ("x.random_(2**70)", Exception, "."),
    ("x.bernoulli_(2)", RuntimeError, "0, 1"),
    ("x.bernoulli_(NAN)", RuntimeError, "0, 1"),
    ("x.bernoulli_(torch.full((2, 3), 0.5))", RuntimeError, "shape"),
    ("x.bernoulli_(n)", NotImplementedError, "floating"),
    ("torch.bernoulli(n)", NotImplementedError, "floating"),
    ("torch.bernoulli(x - 3)", RuntimeError, "0, 1"),
    ("x.exponential_(0)", RuntimeError, "lambda"),
    ("n.exponential_()", RuntimeError, "floating"),
    ("x.geometric_(0)", RuntimeError, "0, 1"),
    ("x.geometric_(1)", RuntimeError, "0, 1"),
    ("n.bool().geometric_(0.5)", NotImplementedError, "bool"),
    ("x.cauchy_(0, 0)", RuntimeError, "sigma"),
    ("n.cauchy_()", RuntimeError, "floating"),
    ("x.log_normal_(0, 0)", RuntimeError, "std"),
    ("n.log_normal_()", NotImplementedError, "floating"),
    ("x[:1].expand(3).uniform_()", RuntimeError, "memory"),
    ("torch.rand(-1)", RuntimeError, "negative"),
    ("torch.rand(2**62, 2**62)", RuntimeError, "."),
    ("torch.rand()", TypeError, "."),
    ("torch.rand(2, dtype=torch.int64)", NotImplementedError, "."),
    ("torch.randn(2, dtype=torch.int64)", NotImplementedError, "."),
    ("torch.rand_like(n)", NotImplementedError, "."),
    ("torch.randint(5, 3, (2,))", RuntimeError, "less than"),
    ("torch.randint(0, 300, (2,), dtype=torch.uint8)", RuntimeError, "out of bounds"),
    ("torch.randint(0, 5.5, (3,))", TypeError, "."),
    ("torch.randperm(-1)", RuntimeError, "non-negative"),
    ("torch.randperm(2.5)", TypeError, "."),
    ("torch.randperm(300, dtype=torch.uint8)", RuntimeError, "greater"),
    ("torch.randperm(3000, dtype=torch.float16)", RuntimeError, "greater"),
    ("torch.randperm(3, dtype=torch.bool)", NotImplementedError, "."),
    ("torch.normal(0.0, 1.0)", TypeError, "size"),
    ("torch.normal(0.0, -1.0, (2,))", RuntimeError, "std"),
    ("torch.normal(x, torch.tensor([1.0, -1.0, 1.0]))", RuntimeError, "std"),
    ("torch.normal(n, 1.0)", NotImplementedError, "."),
    ("torch.normal(x, torch.ones(2))", RuntimeError, "."),
]


@pytest.mark.parametrize("code, error, pattern", BAD_CALLS, ids=lambda value: str(value)[:50])
def test_bad_calls(code: str, error: type[Exception], pattern: str) -> None:
    names = {"torch": torch, "x": torch.zeros(3), "n": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(error, match=pattern):
        eval(code, names | {"NAN": NAN})
