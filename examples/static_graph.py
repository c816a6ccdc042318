"""Trains with one static graph, serves with another, as one would in TensorFlow.

The served graph is one file: this program reads it back without the classes that made it.
"""

from __future__ import annotations

from pathlib import Path

import flambeau as torch
from flambeau import nn
from flambeau.compiler import Input, StaticGraph, load

BATCH = 64
OUTPUT = Path("demo-output")


def disc(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, 2) of a square and whether each lies in the disc, (count,) int64."""
    points = torch.rand(count, 2) * 2 - 1
    return points, (points.square().sum(1) < 0.6).long()


def main() -> None:
    """Builds, trains, saves, loads, compares."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step(points: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), inside)
        loss.backward()
        optimizer.step()
        return loss

    def serve(points: torch.Tensor) -> torch.Tensor:
        return model(points).argmax(1)

    points = Input((BATCH, 2), name="points")
    training = StaticGraph(step, [points, Input((BATCH,), torch.int64, name="inside")])
    serving = StaticGraph(serve, points)
    training.graph.print()
    for _ in range(500):
        x, y = disc(BATCH)
        training.run({"points": x, "inside": y})

    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "disc.graph"
    serving.save(path)
    served = load(path)
    x, y = disc(BATCH)
    right = (served.run({"points": x}) == y).sum().item()
    print(f"{path}: {path.stat().st_size} bytes, {right} of {BATCH} points are right")


if __name__ == "__main__":
    main()
