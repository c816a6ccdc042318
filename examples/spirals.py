"""A multi-layer perceptron learns to tell three intertwined spirals apart.

Shows a Module, a DataLoader, a learning rate that falls, and evaluation without gradients.
"""

from __future__ import annotations

import math

import flambeau as torch
from flambeau import nn
from flambeau.utils.data import DataLoader, TensorDataset

ARMS = 3


class Perceptron(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.output = nn.Linear(width, ARMS)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Maps points (n, 2) to one score per arm, (n, 3)."""
        return self.output(self.layers(points))


def spirals(points_per_arm: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns points (n, 2) and the arm (n,) that each of them belongs to."""
    arm = torch.arange(ARMS).repeat(points_per_arm)
    radius = torch.rand(len(arm))
    angle = 2 * math.pi * (radius * 1.25 + arm / ARMS) + 0.1 * torch.randn(len(arm))
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), arm


@torch.no_grad()
def accuracy(model: nn.Module, points: torch.Tensor, arms: torch.Tensor) -> float:
    return (model(points).argmax(1) == arms).float().mean().item()


def main() -> None:
    torch.manual_seed(0)
    train, test = spirals(500), spirals(200)
    loader = DataLoader(TensorDataset(*train), batch_size=64, shuffle=True)
    model = Perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss_function = nn.CrossEntropyLoss()
    epochs = 40
    for epoch in range(epochs):
        total = 0.0
        for points, arms in loader:
            loss = loss_function(model(points), arms)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - epoch / epochs)
        if epoch % 8 == 7:
            print(
                f"epoch {epoch + 1:2}: loss {total / len(loader):.3f}, "
                f"test accuracy {accuracy(model, *test):.1%}"
            )


if __name__ == "__main__":
    main()
