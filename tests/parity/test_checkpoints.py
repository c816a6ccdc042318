"""PyTorch reads our checkpoints, and we read what it has just written."""

from pathlib import Path

import torch

import flambeau


def contents(library) -> dict:
    base = library.arange(6.0).reshape(2, 3)
    dtypes = ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    return {
        "views": [base.t(), base[1], base],
        "odd": [library.tensor(2.5), library.empty(0, 3), library.ones(1, requires_grad=True)],
        "parameter": library.nn.Parameter(library.full((2,), 0.5)),
        "dtypes": [library.tensor([0, 1, 3]).to(getattr(library, name)) for name in dtypes],
        "python": [1, 2.5, "text", b"bytes", None, True, (1, 2), {3}, 1 << 70, bytearray(b"a"), 1j],
        "named": [library.Size([2, 3]), library.float16, library.device("cpu")],
        "model": library.nn.Linear(3, 2).state_dict(),
    }


def test_pytorch_reads_ours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flambeau.manual_seed(0)
    ours = contents(flambeau)
    flambeau.save(ours, tmp_path / "ours.pt")
    for mmap in (False, True):
        read = torch.load(tmp_path / "ours.pt", weights_only=True, mmap=mmap)
        assert repr(read) == repr(contents(torch)) or repr(read) == repr(ours)
        read["views"][0][0, 0] = 9.0
        assert read["views"][2][0, 0].item() == 9.0


def test_we_read_pytorchs(tmp_path: Path) -> None:
    theirs = contents(torch)
    torch.save(theirs, tmp_path / "theirs.pt")
    assert repr(flambeau.load(tmp_path / "theirs.pt")) == repr(theirs)
