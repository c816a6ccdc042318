"""Learns to read handwritten digits: a small convolutional network, start to finish.

The 1797 images of 8 x 8 pixels come with scikit-learn. Training takes a few seconds; the saved
model and the pictures land in demo-output/.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from tqdm import tqdm

import flambeau as torch
from flambeau import nn
from flambeau.utils.graph_picture import draw_graph

OUTPUT = Path("demo-output")
EPOCHS = 20
BATCH = 32
LEARNING_RATE = 2e-3
FLAME, SKY, RED, GREY = "#ee7a1b", "#3d7fc2", "#d9432f", "#8a8a96"


class Digits(NamedTuple):
    """Images (n, 1, 8, 8) float32 in 0..1 and labels (n,) int64."""

    images: torch.Tensor
    labels: torch.Tensor


class History(NamedTuple):
    """Mean training loss, and accuracy on both sets, after each epoch."""

    loss: list[float]
    train_accuracy: list[float]
    test_accuracy: list[float]


def load() -> tuple[Digits, Digits]:
    """Returns four fifths of the images for training and the rest for the test."""
    bundle = load_digits()
    images = torch.from_numpy(bundle.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bundle.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.split([1437, 360])
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])


class DigitReader(nn.Module):
    """Two convolutions, one pooling, two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.output = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps images (n, 1, 8, 8) to one score per digit, (n, 10)."""
        x = self.norm1(self.conv1(images)).relu()
        x = self.norm2(self.conv2(x)).relu()
        x = self.dropout(self.pool(x).flatten(1))
        return self.output(self.hidden(x).relu())


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Returns the probability of each digit, shape (n, 10)."""
    model.eval()
    return model(images).softmax(dim=1)


def accuracy(model: nn.Module, digits: Digits) -> float:
    return (predict(model, digits.images).argmax(1) == digits.labels).float().mean().item()


def train(model: nn.Module, data: Digits, test: Digits) -> History:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    history = History([], [], [])
    steps = EPOCHS * -(-len(data.labels) // BATCH)
    progress = tqdm(total=steps, desc="training", unit="step", ncols=88)
    for _ in range(EPOCHS):
        model.train()
        losses = []
        for batch in torch.randperm(len(data.labels)).split(BATCH):
            loss = nn.functional.cross_entropy(model(data.images[batch]), data.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - progress.n / steps)
            optimizer.step()
            losses.append(loss.item())
            progress.update()
        history.loss.append(sum(losses) / len(losses))
        history.train_accuracy.append(accuracy(model, data))
        history.test_accuracy.append(accuracy(model, test))
        progress.set_postfix_str(
            f"loss {history.loss[-1]:.4f}, test {history.test_accuracy[-1]:.2%}"
        )
    progress.close()
    return history


def draw_learning_curve(history: History, path: Path) -> None:
    epochs = range(1, len(history.loss) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    left.semilogy(epochs, history.loss, color=FLAME, linewidth=2.2, marker="o", markersize=4)
    left.set(title="Training loss", xlabel="epoch", ylabel="cross-entropy")
    errors = [[100 * (1 - value) for value in values] for values in history[1:]]
    for values, colour, name in zip(errors, (SKY, FLAME), ("training", "test")):
        right.plot(
            epochs, values, color=colour, linewidth=2.2, marker="o", markersize=4, label=name
        )
    right.axhline(2, color=GREY, linestyle=":", linewidth=1.2)
    right.text(len(epochs), 2.15, "98% right", color=GREY, ha="right", fontsize=9)
    right.set(title="Images misread", xlabel="epoch", ylabel="per cent", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_predictions(model: nn.Module, test: Digits, path: Path) -> None:
    """Every mistake first, then images in their order."""
    confidence, digit = predict(model, test.images).max(1)
    wrong = digit != test.labels
    shown = torch.cat([wrong.nonzero().flatten(), (~wrong).nonzero().flatten()])[:60]
    figure, grid = plt.subplots(5, 12, figsize=(12, 6.1), layout="constrained")
    for axes, index in zip(grid.flat, shown.tolist()):
        label, guess = test.labels[index].item(), digit[index].item()
        mistake = guess != label
        axes.imshow(test.images[index, 0].numpy(), cmap="Greys", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=RED if mistake else "#d5d5dc", linewidth=2.5 if mistake else 1)
        axes.set_title(
            f"{guess}, not {label}" if mistake else f"{guess}",
            color=RED if mistake else "black",
            fontsize=11,
            fontweight="bold",
        )
        axes.set_xlabel(f"{confidence[index].item():.0%}", fontsize=8, color=GREY, labelpad=2)
    figure.suptitle(
        f"{len(wrong) - wrong.sum().item()} of {len(wrong)} test images read correctly; "
        "mistakes first, confidence below",
        fontsize=13,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    torch.manual_seed(1)
    OUTPUT.mkdir(exist_ok=True)
    data, test = load()
    model = DigitReader()
    start = time.perf_counter()
    history = train(model, data, test)
    print(
        f"{history.test_accuracy[-1]:.2%} of {len(test.labels)} test images read correctly "
        f"after {time.perf_counter() - start:.1f} s of training"
    )

    torch.save(model.state_dict(), OUTPUT / "digits.pt")
    loaded = DigitReader()
    loaded.load_state_dict(torch.load(OUTPUT / "digits.pt"))
    assert torch.equal(predict(loaded, test.images), predict(model, test.images))

    draw_learning_curve(history, OUTPUT / "learning-curve.png")
    draw_predictions(loaded, test, OUTPUT / "predictions.png")
    loaded.train()
    loss = nn.functional.cross_entropy(loaded(data.images[:BATCH]), data.labels[:BATCH])
    for name in ("graph.svg", "graph.png"):
        draw_graph(loss, OUTPUT / name, loaded.named_parameters(), result="loss")
    for path in sorted(OUTPUT.iterdir()):
        print(f"  {path}  ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
