"""Checkpoints: round trips, PyTorch's own file, hostile and damaged files, crashes."""

import collections
import copy
import io
import os
import pickle
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import flambeau as torch
from flambeau import serialization

TORCH_FILE = Path(__file__).parent / "data" / "torch_checkpoint.pt"


def check_torch_checkpoint(loaded: dict) -> None:
    assert loaded["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert loaded["transposed"].stride() == (1, 3)
    loaded["row"][0] = 30.0  # shares memory
    assert loaded["transposed"][0, 1].item() == 30.0
    assert loaded["scalar"].shape == () and loaded["scalar"].item() == 2.5
    assert loaded["empty"].shape == (0, 3) and loaded["empty"].dtype == torch.int32
    assert loaded["leaf"].requires_grad and loaded["leaf"].is_leaf
    assert type(loaded["parameter"]) is torch.nn.Parameter
    assert loaded["parameter"].tolist() == [0.5, 0.5] and loaded["parameter"].requires_grad
    for name, tensor in loaded["dtypes"].items():
        assert tensor.dtype == getattr(torch, name)
        assert tensor.tolist() == ([False, True, True] if name == "bool" else [0, 1, 3])
    assert loaded["python"] == [
        *(1, 2.5, "text", b"bytes", None, True, (1, 2), {3}, 1 << 70, bytearray(b"a"), 1j)
    ]
    shape, dtype, cpu, cuda = loaded["torch"]
    assert type(shape) is torch.Size and shape == (2, 3) and dtype is torch.float16
    assert (cpu, cuda) == (torch.device("cpu"), torch.device("cuda:1"))
    assert list(loaded["ordered"]) == ["b", "a"]
    assert type(loaded["model"]) is collections.OrderedDict


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("weights_only", [True, False])
def test_pytorchs_file(mmap: bool, weights_only: bool) -> None:
    loaded = torch.load(TORCH_FILE, weights_only=weights_only, mmap=mmap)
    check_torch_checkpoint(loaded)


def test_pytorchs_state_enters_our_model_and_optimizer() -> None:
    loaded = torch.load(TORCH_FILE)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(loaded["optimizer"])
    assert torch.equal(model[0].weight, loaded["model"]["0.weight"])
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_round_trip(tmp_path: Path) -> None:
    loaded = torch.load(TORCH_FILE)
    for target in (tmp_path / "own.pt", str(tmp_path / "text"), io.BytesIO()):
        torch.save(loaded, target)
        if isinstance(target, io.BytesIO):
            target.seek(0)
        check_torch_checkpoint(torch.load(target))


def test_archive_is_a_plain_aligned_zip(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save([torch.arange(3), torch.arange(1000)], path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *("model/data.pkl", "model/byteorder", "model/data/0", "model/data/1"),
            "model/version",
        ]
        position = path.read_bytes().index(bytes(archive.read("model/data/1")))
    assert position % 64 == 0


def test_equal_contents_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.save({"w": torch.arange(5.0)}, tmp_path / name / "x.pt")
    assert (tmp_path / "a/x.pt").read_bytes() == (tmp_path / "b/x.pt").read_bytes()


def test_shared_memory_is_stored_once(tmp_path: Path) -> None:
    base = torch.zeros(100_000)
    torch.save([base[:10], base[5:], base.reshape(100, 1000)], tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 450_000
    first, second, third = torch.load(tmp_path / "x.pt")
    first[5] = 7.0
    assert second[0].item() == 7.0 and third[0, 5].item() == 7.0
    with pytest.raises(RuntimeError, match=r"one dtype, got torch\.float32 and torch\.int32"):
        torch.save([base, base.view(torch.int32)], io.BytesIO())


def test_old_file_stays_when_saving_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(1, path)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        torch.save([torch.zeros(10), lambda: 0], path)
    assert torch.load(path) == 1 and os.listdir(tmp_path) == ["x.pt"]


KILLED_WHILE_SAVING = """
import os, signal, sys
import flambeau as torch

class Killer:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

original = os.fsync
if sys.argv[2] == "sync":
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    torch.save(torch.zeros(1000), sys.argv[1])
else:
    torch.save([torch.zeros(1000), Killer()], sys.argv[1])
"""


@pytest.mark.parametrize("when", ["pickle", "sync"])
def test_old_file_stays_when_the_process_is_killed(tmp_path: Path, when: str) -> None:
    path = tmp_path / "x.pt"
    torch.save("old", path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(path), when]
    assert subprocess.run(command, env=environment).returncode < 0
    assert torch.load(path) == "old"


def test_permissions_links_and_devices(tmp_path: Path) -> None:
    path, link = tmp_path / "x.pt", tmp_path / "link.pt"
    torch.save(1, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()
    path.chmod(0o640)
    link.symlink_to(path)
    torch.save(2, link)
    assert link.is_symlink() and torch.load(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    torch.save(3, os.devnull)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


class Settings:
    def __init__(self, rate: float) -> None:
        self.rate = rate


def test_code_in_a_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "x": Harmful()}, "x.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"mkdir.*add_safe_globals.*weights_only"):
        torch.load("x.pt")
    assert not os.path.exists("harm")
    torch.load("x.pt", weights_only=False)
    assert os.path.exists("harm")


def test_own_classes_can_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(Settings(0.5), path)
    with pytest.raises(pickle.UnpicklingError, match="Settings"):
        torch.load(path)
    with serialization.safe_globals([Settings]):
        assert torch.load(path).rate == 0.5
        assert serialization.get_safe_globals() == [Settings]
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(Settings, f"{__name__}.Settings")])
    assert torch.load(path).rate == 0.5
    serialization.clear_safe_globals()
    assert torch.load(path, weights_only=False).rate == 0.5


def archive_of(content: bytes) -> io.BytesIO:
    """An archive whose pickle is `content`, with one storage of four bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/data/0", bytes(4))
        archive.writestr("x/version", "3\n")
    file.seek(0)
    return file


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ"
)
REBUILD = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("


def rebuild(count: int, rest: bytes) -> bytes:
    return REBUILD + STORAGE.replace(b"%c", bytes([count])) + rest + b"tR."


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", pickle.UnpicklingError),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", pickle.UnpicklingError),
        (b"\x80\x02c__builtin__\ngetattr\n.", pickle.UnpicklingError),
        (b"\x80\x02cflambeau.nn\nLinear\n.", pickle.UnpicklingError),
        (b"(Vtrue\nios\nsystem\n.", pickle.UnpicklingError),
        # changes what the following calls would do
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x01\x00\x00\x00aNs\x86b.", RuntimeError),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aNsb.", RuntimeError),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", RuntimeError),
        # tensors that reach beyond their storage
        (rebuild(1, b"K\x00K\x02\x85K\x01\x85\x89N"), RuntimeError),
        (rebuild(1, b"K\x01K\x01\x85K\x01\x85\x89N"), RuntimeError),
        (rebuild(1, b"J\xff\xff\xff\xffK\x01\x85K\x01\x85\x89N"), RuntimeError),
        (rebuild(1, b"K\x00K\x02\x85J\xff\xff\xff\xff\x85\x89N"), RuntimeError),
        (rebuild(1, b"K\x00K\x01\x85)\x89N"), RuntimeError),
        (rebuild(2, b"K\x00K\x01\x85K\x01\x85\x89N"), RuntimeError),
        (rebuild(1, b"NNN\x89N"), RuntimeError),
        (b"\x80\x02K\x01Q.", RuntimeError),
        (b"\x80\x02(K\x01", RuntimeError),
        (b"", RuntimeError),
        (b"\x80\x02.", RuntimeError),
        (b"\x80\x02N\x85R.", RuntimeError),
    ],
)
def test_hostile_pickles(content: bytes, error: type) -> None:
    with pytest.raises(error, match="load: "):
        torch.load(archive_of(content))


def test_the_smallest_hostile_pickle_is_right_when_mended() -> None:
    assert torch.load(archive_of(rebuild(1, b"K\x00K\x01\x85K\x01\x85\x89N"))).tolist() == [0.0]


def test_damaged_files(tmp_path: Path) -> None:
    file = io.BytesIO()
    torch.save({"a": torch.arange(50.0), "b": [torch.ones(3, 4), "text"]}, file)
    whole = file.getvalue()
    draw = random.Random(0)
    damaged = [whole[: len(whole) * part // 20] for part in range(20)]
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 20])):
            changed[draw.randrange(len(whole))] = draw.randrange(256)
        damaged.append(bytes(changed))
    damaged += [os.urandom(100), b"PK\3\4", b"\x80\x02}.", b"text"]
    for content in damaged:
        try:
            loaded = torch.load(io.BytesIO(content))
        except RuntimeError as error:
            assert "load: " in str(error)
        else:  # the change fell on padding or on a date
            assert loaded["a"].tolist() == list(range(50)) and loaded["b"][1] == "text"


def test_devices(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.ones(2), path)
    seen = []

    def place(storage, location):
        seen.append((storage.nbytes(), location))
        return storage

    for choice in ("cpu", torch.device("cpu"), {"cuda:0": "cpu"}, place, lambda s, where: None):
        assert torch.load(path, map_location=choice).device.type == "cpu"
    assert seen == [(8, "cpu")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
def test_file_with_cuda_tensors_without_cuda() -> None:
    content = rebuild(1, b"K\x00K\x01\x85K\x01\x85\x89N").replace(
        b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    )
    with pytest.raises(RuntimeError, match="map_location"):
        torch.load(archive_of(content))
    assert torch.load(archive_of(content), map_location="cpu").device.type == "cpu"


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError):
        torch.save(1, tmp_path / "absent" / "x.pt")
    with pytest.raises(AttributeError, match="int"):
        torch.save(1, 2)
    with pytest.raises(AttributeError, match="int"):
        torch.load(2)
    with pytest.raises(ValueError, match="mmap"):
        torch.load(io.BytesIO(), mmap=True)
    with pytest.raises(TypeError, match="weights_only"):
        torch.load(TORCH_FILE, weights_only=1)


def test_mapped_file_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(1000), path)
    tensor = torch.load(path, mmap=True)
    tensor.add_(1)
    assert tensor.sum().item() == 1000 and torch.load(path).sum().item() == 0


def test_pickle_and_deepcopy_of_tensors() -> None:
    made = [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor(3),
        torch.empty(0, 2),
        torch.ones(2, dtype=torch.bfloat16, requires_grad=True),
        torch.nn.Parameter(torch.ones(3)),
    ]
    for tensor in made:
        copies = [pickle.loads(pickle.dumps(tensor, p)) for p in (2, 4, 5)]
        for other in [*copies, copy.deepcopy(tensor), copy.copy(tensor)]:
            assert type(other) is type(tensor) and other.dtype == tensor.dtype
            assert torch.equal(other, tensor) and other.requires_grad == tensor.requires_grad
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(made[3] * 2)


def test_deepcopy_keeps_what_is_shared() -> None:
    base = torch.zeros(6)
    leaf = torch.ones(2, requires_grad=True)
    (leaf * 3).sum().backward()
    first, second, third, fourth = copy.deepcopy([base[:3], base.reshape(2, 3), leaf, leaf])
    first[1] = 5.0
    assert second[0, 1].item() == 5.0 and base.sum().item() == 0
    assert third is fourth and third is not leaf
    assert third.grad.tolist() == [3.0, 3.0] and third.grad is not leaf.grad
