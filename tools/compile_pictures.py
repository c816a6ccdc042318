"""Draws the pictures of docs/compile.md: a training step before and after the compiler's passes."""

from __future__ import annotations

from pathlib import Path

import flambeau as torch

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def pictures() -> dict[str, str]:
    """The pictures by file name."""
    torch.manual_seed(0)
    slope, shift = (torch.zeros((), requires_grad=True) for _ in range(2))

    @torch.compile
    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = (slope * x + shift - y).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            for parameter in (slope, shift):
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
        return loss

    x = torch.linspace(-1, 1, 2000)
    for _ in range(2):
        step(x, 3 * x + 1)
    return {
        "compile_recorded.svg": step.recorded_graph.to_svg(),
        "compile_optimised.svg": step.graph.to_svg(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
