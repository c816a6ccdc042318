"""assert_close: what is close, and what the error says."""

import numpy
import pytest

import flambeau as torch
from flambeau.testing import assert_close


def test_close() -> None:
    assert_close(torch.ones(2, 3), torch.ones(2, 3) + 1e-6)
    assert_close([1, 2.0, torch.arange(3)], [1, 2.0, torch.arange(3)])
    assert_close({"a": torch.zeros(0)}, {"a": torch.zeros(0)})
    assert_close(numpy.ones(3), numpy.ones(3))
    assert_close(torch.tensor(float("nan")), torch.tensor(float("nan")), equal_nan=True)
    assert_close(torch.ones(2), torch.ones(2).double(), check_dtype=False)
    assert_close(torch.ones(2).bfloat16(), torch.ones(2).bfloat16() * 1.0078125)
    assert_close(torch.tensor([True]), torch.tensor([True]))
    assert_close(torch.tensor(1.0), torch.tensor(1.5), rtol=0.5, atol=0)


def test_the_error_says_where_and_how_much() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_close(torch.tensor([[1.0, 2.0], [3.0, 4.5]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    text = str(caught.value)
    assert "Mismatched elements: 1 / 4 (25.0%)" in text
    assert "Greatest absolute difference: 0.5 at index (1, 1) (up to 1e-05 allowed)" in text
    assert "Greatest relative difference: 0.125 at index (1, 1) (up to 1.3e-06 allowed)" in text


@pytest.mark.parametrize(
    "actual, expected, words",
    [
        (torch.ones(2), torch.ones(3), "shape"),
        (torch.ones(2), torch.ones(2).double(), "dtype"),
        (torch.tensor(1), torch.tensor(2), "Scalars are not close"),
        ([1, 2], [1, 2, 3], "length"),
        ({"a": 1}, {"b": 1}, "keys"),
        ([1.0, [2.0]], [1.0, [3.0]], r"item \[1\]\[0\]"),
        (torch.tensor(float("nan")), torch.tensor(float("nan")), "nan"),
        (torch.tensor([2**62]), torch.tensor([2**62 + 1]), "Mismatched"),
    ],
)
def test_not_close(actual: object, expected: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert_close(actual, expected)


def test_texts_of_the_user() -> None:
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(1, 2, msg="mine")
    with pytest.raises(AssertionError, match=r"^mine: Scalars"):
        assert_close(1, 2, msg=lambda text: "mine: " + text)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="both"):
        assert_close(1, 1, rtol=1.0)
    with pytest.raises(TypeError, match="got object"):
        assert_close(object(), 1)
