"""Writes tests/data/torch_checkpoint.pt with PyTorch. Run it where torch is installed."""

from collections import OrderedDict
from pathlib import Path

import torch


def checkpoint() -> dict:
    base = torch.arange(6.0).reshape(2, 3)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    model(base).sum().backward()
    optimizer.step()
    dtypes = ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    return {
        "transposed": base.t(),
        "row": base[1],
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3, dtype=torch.int32),
        "leaf": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.full((2,), 0.5)),
        "dtypes": {name: torch.tensor([0, 1, 3]).to(getattr(torch, name)) for name in dtypes},
        "python": [1, 2.5, "text", b"bytes", None, True, (1, 2), {3}, 1 << 70, bytearray(b"a"), 1j],
        "torch": [torch.Size([2, 3]), torch.float16, torch.device("cpu"), torch.device("cuda", 1)],
        "ordered": OrderedDict(b=1, a=2),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


if __name__ == "__main__":
    folder = Path(__file__).parent.parent / "tests" / "data"
    torch.save(checkpoint(), folder / "torch_checkpoint.pt")
