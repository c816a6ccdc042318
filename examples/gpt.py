"""A small GPT that learns to write like this project's own documents, letter by letter.

Usage: python examples/gpt.py [--steps N] [--text FILE]

The architecture is that of GPT-2 (Radford et al., "Language models are unsupervised multitask
learners", 2019): pre-norm blocks of causal self-attention and an MLP, learned positions, and
an output layer that shares the embedding's weights.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

PROJECT = Path(__file__).resolve().parent.parent


class Config(NamedTuple):
    """Sizes of the model and of training."""

    letters: int
    context: int = 64
    layers: int = 3
    heads: int = 4
    width: int = 96
    dropout: float = 0.1
    batch: int = 24
    learning_rate: float = 3e-3


class SelfAttention(nn.Module):
    """Each letter looks at itself and the letters before it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.query_key_value(x).split(width, dim=2)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(),
            nn.Linear(4 * config.width, config.width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.letters = nn.Embedding(config.letters, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                # The layers that add to the residual stream start smaller, the deeper the model.
                last = name.endswith(("output.weight", "mlp.2.weight"))
                scale = 1 / math.sqrt(2 * config.layers) if last else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """Maps letters (batch, length) int64 to scores of the next one, (batch, length, n)."""
        positions = torch.arange(letters.shape[1])
        x = self.dropout(self.letters(letters) + self.positions(positions))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.letters.weight.t()

    @torch.no_grad()
    def write(self, start: torch.Tensor, count: int, temperature: float = 0.8) -> torch.Tensor:
        """Continues `start` (1, length) by `count` letters drawn one after the other."""
        self.eval()
        text = start
        for _ in range(count):
            scores = self(text[:, -self.config.context :])[:, -1] / temperature
            text = torch.cat([text, torch.multinomial(scores.softmax(-1), 1)], dim=1)
        return text


class Corpus:
    """A text as numbers, nine tenths for training and the rest for validation."""

    def __init__(self, text: str) -> None:
        self.alphabet = sorted(set(text))
        numbers = {letter: i for i, letter in enumerate(self.alphabet)}
        data = torch.tensor([numbers[letter] for letter in text])
        self.train, self.validation = data.split([len(data) * 9 // 10, -(-len(data) // 10)])

    def batch(self, data: torch.Tensor, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns pieces of the text and the same pieces one letter later."""
        starts = torch.randint(0, len(data) - config.context, (config.batch, 1))
        index = starts + torch.arange(config.context)
        return data[index], data[index + 1]

    def decode(self, numbers: torch.Tensor) -> str:
        return "".join(self.alphabet[i] for i in numbers.tolist())


def loss_of(model: GPT, letters: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(letters).flatten(0, 1), following.flatten())


@torch.no_grad()
def validate(model: GPT, corpus: Corpus) -> float:
    model.eval()
    losses = [loss_of(model, *corpus.batch(corpus.validation, model.config)) for _ in range(8)]
    model.train()
    return torch.stack(losses).mean().item()


def train(model: GPT, corpus: Corpus, steps: int) -> None:
    config = model.config
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.1},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.99),
    )
    start = time.perf_counter()
    for step in range(steps):
        warm_up = min(1.0, (step + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = (
                config.learning_rate * warm_up * (1 + math.cos(math.pi * step / steps)) / 2
            )
        loss = loss_of(model, *corpus.batch(corpus.train, config))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step:4}: loss {loss.item():.3f}, validation {validate(model, corpus):.3f}, "
                f"{time.perf_counter() - start:.1f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains a small GPT on letters of a text.")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--text", type=Path, help="a text file instead of our documents")
    options = parser.parse_args()
    documents = [*sorted(PROJECT.glob("*.md")), *sorted(PROJECT.glob("docs/*.md"))]
    files = [options.text] if options.text else documents
    corpus = Corpus("\n".join(path.read_text(encoding="utf-8") for path in files))

    torch.manual_seed(0)
    model = GPT(Config(letters=len(corpus.alphabet)))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(corpus.train):,} letters, {parameters:,} parameters")
    train(model, corpus, options.steps)
    print(corpus.decode(model.write(corpus.validation[None, :16], 300)[0]))


if __name__ == "__main__":
    main()
