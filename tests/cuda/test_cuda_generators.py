"""Generators of GPUs: seeds, states, CUDA graphs, and what is built on random numbers."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from philox_model import model

import flambeau as torch
from flambeau.utils.checkpoint import checkpoint


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


# Generators --------------------------------------------------------------------------------------


def test_generator_of_a_gpu() -> None:
    generator = torch.Generator(device="cuda")
    assert generator.device == torch.device("cuda:0")
    assert generator.initial_seed() == 67280421310721
    assert generator.manual_seed(-1) is generator
    assert generator.initial_seed() == 2**64 - 1
    torch.rand(5, device="cuda", generator=generator)
    state = generator.get_state()
    assert state.dtype == torch.uint8 and state.device.type == "cpu"
    assert bytes(array(state)) == (2**64 - 1).to_bytes(8, "little") + (4).to_bytes(8, "little")
    first = torch.rand(5, device="cuda", generator=generator)
    for other in (
        torch.Generator("cuda:0").set_state(state),
        copy.deepcopy(torch.Generator("cuda").set_state(state)),
        pickle.loads(pickle.dumps(torch.Generator("cuda").set_state(state))),
        torch.Generator("cuda").set_state(state).clone_state(),
    ):
        assert other.get_offset() == 4
        assert torch.equal(torch.rand(5, device="cuda", generator=other), first)
    generator.set_offset(4)
    assert torch.equal(torch.rand(5, device="cuda", generator=generator), first)
    assert generator.seed() == generator.initial_seed() and generator.get_offset() == 0
    generator.set_state(state[:8])  # the seed alone
    assert generator.initial_seed() == 2**64 - 1 and generator.get_offset() == 0


def test_wrong_uses_of_generators() -> None:
    gpu, cpu = torch.Generator("cuda"), torch.Generator()
    for call in (
        lambda: torch.rand(3, device="cuda", generator=cpu),
        lambda: torch.rand(3, generator=gpu),
        lambda: torch.empty(3, device="cuda").normal_(generator=cpu),
        lambda: torch.multinomial(torch.ones(3), 1, generator=gpu),
        lambda: torch.bernoulli(torch.ones(3, device="cuda"), generator=cpu),
    ):
        with pytest.raises(RuntimeError, match="device type for generator but found"):
            call()
    with pytest.raises(RuntimeError, match="multiple of 4"):
        gpu.set_offset(6)
    with pytest.raises(RuntimeError, match="wrong size"):
        gpu.set_state(torch.zeros(12, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="multiple of 4"):
        gpu.set_state(torch.ones(16, dtype=torch.uint8))
    with pytest.raises(TypeError, match="on the CPU"):
        gpu.set_state(gpu.get_state().cuda())
    with pytest.raises(RuntimeError, match="has no offset"):
        cpu.get_offset()
    with pytest.raises(RuntimeError):
        torch.Generator("cuda:7")
    with pytest.raises(RuntimeError, match="out parameter"):
        torch.rand(3, device="cuda", out=torch.empty(3))


def test_seeds_and_states_of_torch_cuda() -> None:
    torch.manual_seed(11)
    assert torch.cuda.initial_seed() == 11
    cpu = torch.get_rng_state()
    torch.cuda.manual_seed(12)
    assert torch.cuda.initial_seed() == 12 and torch.initial_seed() == 11
    torch.cuda.manual_seed_all(13)
    assert torch.cuda.initial_seed() == 13
    state = torch.cuda.get_rng_state()
    first = torch.randn(9, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.randn(9, device="cuda"), first)
    states = torch.cuda.get_rng_state_all()
    second = torch.randn(9, device="cuda")
    torch.cuda.set_rng_state_all(states)
    assert torch.equal(torch.randn(9, device="cuda"), second)
    assert torch.equal(torch.get_rng_state(), cpu)  # the CPU's stream is another one
    torch.cuda.seed()
    assert torch.cuda.initial_seed() != 13
    torch.cuda.seed_all()
    fresh = torch.seed()
    assert torch.cuda.initial_seed() == fresh == torch.initial_seed()
    with pytest.raises(RuntimeError, match="cuda:9"):
        torch.cuda.get_rng_state(9)


def test_fork_rng() -> None:
    torch.manual_seed(4)
    before = torch.cuda.get_rng_state()
    for devices in (None, [0], ["cuda:0"], [torch.device("cuda")]):
        cpu = torch.get_rng_state()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(99)
            torch.rand(3, device="cuda"), torch.rand(3)
        assert torch.equal(torch.cuda.get_rng_state(), before)
        assert torch.equal(torch.get_rng_state(), cpu)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3, device="cuda")
    assert not torch.equal(torch.cuda.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="device_type"):
        with torch.random.fork_rng(device_type="tpu"):
            pass


def test_checkpoint_draws_the_same_again() -> None:
    x = torch.ones(64, device="cuda", requires_grad=True)

    def noisy(value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(value * value, 0.5) * torch.rand_like(value)

    torch.manual_seed(6)
    noisy(x).sum().backward()
    expected, x.grad = x.grad, None
    torch.manual_seed(6)
    loss = checkpoint(noisy, x, use_reentrant=False).sum()
    after = torch.cuda.get_rng_state()
    loss.backward()
    assert torch.equal(x.grad, expected)
    assert torch.equal(torch.cuda.get_rng_state(), after)


# Graphs ------------------------------------------------------------------------------------------


def test_graphs_draw_new_numbers_at_every_replay() -> None:
    own = torch.Generator("cuda").manual_seed(8)
    warm = torch.empty(100, device="cuda")
    warm.normal_(), warm.uniform_(), torch.nn.functional.dropout(warm, 0.5)

    def draw() -> list[torch.Tensor]:
        return [
            torch.randn(100, device="cuda"),
            torch.rand(100, device="cuda", generator=own),
            torch.nn.functional.dropout(torch.ones(100, device="cuda"), 0.5),
            torch.rand(100, device="cuda"),
        ]

    torch.manual_seed(7)
    eager = [draw() for _ in range(3)]
    after = torch.cuda.get_rng_state(), own.get_state()
    torch.manual_seed(7)
    own.manual_seed(8)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = draw()
    assert torch.cuda.default_generators[0].get_offset() == 0  # nothing has run yet
    for expected in eager:
        graph.replay()
        for got, wanted in zip(captured, expected, strict=True):
            assert torch.equal(got, wanted)
    assert torch.equal(torch.cuda.get_rng_state(), after[0])
    assert torch.equal(own.get_state(), after[1])
    torch.manual_seed(7)  # a seed between replays counts
    own.manual_seed(8)
    graph.replay()
    assert torch.equal(captured[0], eager[0][0])


def test_states_cannot_be_read_or_set_in_a_capture() -> None:
    for call in (
        lambda: torch.manual_seed(1),
        torch.cuda.get_rng_state,
        torch.cuda.default_generators[0].get_offset,
        torch.cuda.default_generators[0].seed,
    ):
        graph = torch.cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="while a CUDA graph is captured"):
            with torch.cuda.graph(graph):
                call()
    torch.manual_seed(1)  # and afterwards they can


# What is built on them ---------------------------------------------------------------------------


def test_initial_weights_on_the_gpu() -> None:
    torch.manual_seed(2)
    weight = torch.nn.Parameter(torch.empty(30, 20, device="cuda"))
    for name, arguments in {
        "uniform_": (-1, 1),
        "normal_": (),
        "trunc_normal_": (),
        "xavier_uniform_": (),
        "xavier_normal_": (),
        "kaiming_uniform_": (),
        "kaiming_normal_": (),
        "orthogonal_": (),
        "sparse_": (0.5,),
    }.items():
        getattr(torch.nn.init, name)(weight, *arguments)
        assert weight.is_cuda and weight.detach().isfinite().all(), name
    layer = torch.nn.Linear(5, 3, device="cuda")
    assert layer.weight.is_cuda and float(layer.weight.abs().max()) <= 1 / math.sqrt(5)
    generator = torch.Generator("cuda").manual_seed(1)
    torch.nn.init.uniform_(weight, generator=generator)
    assert generator.get_offset() == 4


def test_normal_of_tensors() -> None:
    mean = torch.tensor([0.0, 100.0], device="cuda")
    std = torch.tensor([0.0, 1.0], device="cuda")
    expected = model().normal(2)
    drawn = array(torch.normal(mean, std))
    assert drawn == pytest.approx([0, 100 + expected[1]], rel=1e-6)
    assert torch.normal(mean, 2.0).is_cuda and torch.normal(1.0, std).is_cuda
    assert torch.normal(0.0, 1.0, (3,), device="cuda").is_cuda
    with pytest.raises(RuntimeError, match="std >= 0"):
        torch.normal(mean, -std)


def test_compiled_functions_draw_on() -> None:
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x, 0.5) + torch.rand_like(x)

    compiled = torch.compile(noisy)
    x = torch.ones(200, device="cuda", requires_grad=True)

    def step(function: Any) -> tuple[torch.Tensor, torch.Tensor]:
        result = function(x)
        (gradient,) = torch.autograd.grad(result.sum(), x)
        return result.detach(), gradient

    torch.manual_seed(5)
    eager = [step(noisy) for _ in range(9)]  # from the fifth call on it is a CUDA graph
    torch.manual_seed(5)
    for expected in eager:
        got = step(compiled)
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
