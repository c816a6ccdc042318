"""The whole stack in a few seconds, for the inner loop and for an installed wheel."""

import flambeau as torch


def test_a_network_learns() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x.sum(1, keepdim=True).tanh()
    model = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(200):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50


def test_products_and_printing() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert repr(x @ x.t()) == "tensor([[ 5., 14.],\n        [14., 50.]])"
    assert repr(x.sum().requires_grad_() * 2) == "tensor(30., grad_fn=<MulBackward0>)"
