"""Printing: every text equals PyTorch's, whose texts are kept in data/printing_golden.json."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import flambeau as torch

CASES = json.loads((Path(__file__).parent / "data" / "printing_golden.json").read_text())


@pytest.fixture(autouse=True)
def default_options() -> Iterator[None]:
    torch.set_printoptions(profile="default")
    yield
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["code"][:60])
def test_golden(case: dict) -> None:
    torch.set_printoptions(**case["options"])
    assert repr(eval(case["code"])) == case["text"]


def test_options_are_kept_and_returned() -> None:
    torch.set_printoptions(precision=2, linewidth=60)
    torch.set_printoptions(edgeitems=1)
    assert torch._printing.get_printoptions() == {
        "precision": 2,
        "threshold": 1000,
        "edgeitems": 1,
        "linewidth": 60,
        "sci_mode": None,
    }


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="'loud'"):
        torch.set_printoptions(profile="loud")


def test_format_of_numbers_and_tensors() -> None:
    assert f"{torch.tensor(1.23456):.2f}" == "1.23"
    assert f"{torch.tensor(7):>4}" == "   7"
    assert f"{torch.ones(2)}" == "tensor([1., 1.])"
    with pytest.raises(TypeError):
        format(torch.ones(2), ".2f")


def test_subclass_gives_its_own_name() -> None:
    class Reading(torch.Tensor):
        pass

    assert repr(torch.ones(2).as_subclass(Reading)) == "Reading([1., 1.])"


def test_own_function_gives_its_name() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    y = Twice.apply(torch.ones(1, requires_grad=True))
    assert repr(y) == "tensor([2.], grad_fn=<TwiceBackward>)"


def test_time_follows_what_is_printed() -> None:
    large = torch.zeros(1).expand(1 << 20, 1 << 20)
    start = time.perf_counter()
    assert repr(large).count("\n") == 6
    assert time.perf_counter() - start < 0.5
