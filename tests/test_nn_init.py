"""Initialisers: distributions, shapes, golden values, errors."""

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn import init


def big():
    return torch.empty(200, 100)


@pytest.mark.parametrize(
    "fill, bound",
    [
        (lambda t: init.uniform_(t, -2, 2), 2),
        (init.xavier_uniform_, math.sqrt(6 / 300)),
        (init.kaiming_uniform_, math.sqrt(6 / 100)),
        (lambda t: init.kaiming_uniform_(t, 0, "fan_out", "linear"), math.sqrt(3 / 200)),
    ],
)
def test_uniform_bounds(fill, bound):
    torch.manual_seed(0)
    values = fill(big()).numpy()
    assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    "fill, std",
    [
        (lambda t: init.normal_(t, 0, 3), 3),
        (init.xavier_normal_, math.sqrt(2 / 300)),
        (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), math.sqrt(2 / 100)),
    ],
)
def test_normal_deviation(fill, std):
    torch.manual_seed(0)
    values = fill(big()).numpy()
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 0.03 * std


def test_truncated_normal():
    torch.manual_seed(0)
    for low, high in ((-2.0, 2.0), (1.5, 3.0)):
        values = init.trunc_normal_(big(), a=low, b=high).numpy()
        assert low <= values.min() and values.max() <= high
    with pytest.warns(UserWarning):
        init.trunc_normal_(torch.empty(5), mean=9.0)


def test_fixed_values():
    assert init.constant_(torch.empty(2), 0.5).tolist() == [0.5, 0.5]
    assert init.ones_(torch.empty(1)).item() == 1 and init.zeros_(torch.empty(1)).item() == 0
    assert init.eye_(torch.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    kernel = init.dirac_(torch.empty(4, 2, 3), groups=2)
    assert kernel[:, :, 1].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert float(kernel.sum()) == 4
    weight = init.sparse_(torch.empty(10, 4), 0.3)
    assert ((weight == 0).sum(0) == 3).all()


def test_golden_values():
    torch.manual_seed(0)
    expected = [-0.0052940, 0.3793229, -0.5819808, -0.5203873]
    weight = init.kaiming_uniform_(torch.empty(2, 2), a=math.sqrt(5))
    np.testing.assert_allclose(weight.flatten().numpy(), expected, rtol=1e-5)


def test_orthogonal():
    for shape in ((3, 5), (5, 3), (4, 2, 2)):
        weight = init.orthogonal_(torch.empty(*shape), gain=2.0).flatten(1).numpy()
        product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_no_gradient_is_recorded():
    weight = torch.nn.Parameter(torch.empty(2, 2))
    assert init.xavier_uniform_(weight) is weight
    assert weight.is_leaf and weight.grad_fn is None


def test_gains_and_errors():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    assert init.calculate_gain("tanh") == 5 / 3
    for call in (
        lambda: init.calculate_gain("unknown"),
        lambda: init.calculate_gain("leaky_relu", True),
        lambda: init.xavier_uniform_(torch.empty(3)),
        lambda: init.kaiming_uniform_(torch.empty(3, 3), mode="fan"),
        lambda: init.eye_(torch.empty(3)),
        lambda: init.dirac_(torch.empty(3, 3)),
        lambda: init.orthogonal_(torch.empty(3)),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.warns(UserWarning):
        init.kaiming_uniform_(torch.empty(0, 3))
