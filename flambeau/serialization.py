"""Checkpoints: `save` and `load` in PyTorch's .pt format.

Note [The .pt format]
A zip archive with one folder: `data.pkl` is a pickle of the object in which each tensor is a call
of `torch._utils._rebuild_tensor_v2` on a storage (a persistent id), an offset, a shape, strides
and a flag; `data/KEY` are the bytes of the storages; `byteorder` and `version` say how to read
them. The functions and classes are named as in PyTorch, so that each library reads the other's
files; here the names only stand for what this module does about them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau import Tensor
    from flambeau._archive import ArchiveReader

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]

_FORMAT_VERSION = b"3\n"

MapLocation = Any  # None, str, device, {str: str}, or a function of a storage and its location

# What users have allowed in files, by the name in the file.
_safe_names: dict[str, Any] = {}


def save(obj: Any, f: str | os.PathLike[str] | IO[bytes], pickle_protocol: int = 2) -> None:
    """Writes an object with tensors to a file that `load` and `torch.load` can read.

    A path is replaced only when the new file is complete on the disk, so that a crash leaves the
    old file or the new one. Tensors that share memory are stored once and share it after loading.

    Args:
        obj: a tensor, a state_dict, or any object that can be pickled.
        f: path, or object with `write`.
        pickle_protocol: of the pickle inside; 2 is what all versions of PyTorch read.

    Raises:
        OSError: the file cannot be written.
        pickle.PicklingError, TypeError, AttributeError: something in `obj` cannot be pickled.
        RuntimeError: two tensors use the same memory with different dtypes.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> flambeau.save({"w": flambeau.ones(2)}, file)
        >>> _ = file.seek(0)
        >>> flambeau.load(file)
        {'w': tensor([1., 1.])}
    """
    if not isinstance(f, (str, os.PathLike)):
        if not hasattr(f, "write"):
            raise AttributeError(
                f"save: a path or an object with write is required, got {type(f).__name__}"
            )
        _write(obj, f, "archive", pickle_protocol)
        return
    path = os.path.realpath(os.fspath(f))
    folder_name = os.path.splitext(os.path.basename(path))[0] or "archive"
    with _replacing(path) as file:
        _write(obj, file, folder_name, pickle_protocol)


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: MapLocation = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
) -> Any:
    """Reads what `save` or `torch.save` wrote.

    Only data is read: tensors, containers, numbers, strings, dtypes, devices, parameters, and the
    classes named with `add_safe_globals`. No code in the file runs, unless `weights_only=False`.

    Args:
        f: path, or object with `read`, `seek` and `tell`.
        map_location: where the tensors go: a device for all; a dict from the device they were
            saved from to another; a function of a storage and that device's name, whose result's
            device is taken, None leaving the choice; None: the device they were saved from.
        weights_only: False allows every class and function the file names, which lets the file
            run any code: only for files you trust.
        mmap: map the file instead of reading it; needs a path. Changes do not reach the file.

    Returns:
        The object.

    Raises:
        OSError: the file cannot be read.
        pickle.UnpicklingError: the file names a class or function that is not allowed.
        RuntimeError: the file is damaged or of another format, or needs a device that is absent.
    """
    if weights_only is not None and not isinstance(weights_only, bool):
        raise TypeError(f"load: weights_only must be True or False, got {weights_only!r}")
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        with open(path, "rb") as file:
            return _read(file, repr(path), map_location, weights_only is not False, bool(mmap))
    if not (hasattr(f, "read") and hasattr(f, "seek") and hasattr(f, "tell")):
        raise AttributeError(
            "load: a path or an object with read, seek and tell is required, got "
            f"{type(f).__name__}"
        )
    if mmap:
        raise ValueError("load: mmap=True needs a path, got an open file")
    return _read(f, "the file", map_location, weights_only is not False, False)


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allows classes and functions in files read with `weights_only=True`.

    Args:
        safe_globals: classes or functions; a pair of one and the name the file has for it.

    Example:
        >>> import datetime
        >>> flambeau.serialization.add_safe_globals([datetime.timedelta])
        >>> flambeau.serialization.clear_safe_globals()
    """
    for item in safe_globals:
        value, name = item if isinstance(item, tuple) else (item, None)
        _safe_names[name or f"{value.__module__}.{value.__qualname__}"] = value


def get_safe_globals() -> list[Any]:
    """Returns the classes and functions that have been allowed."""
    return list(_safe_names.values())


def clear_safe_globals() -> None:
    """Forgets the classes and functions that have been allowed."""
    _safe_names.clear()


@contextlib.contextmanager
def safe_globals(safe_globals: list[Any]) -> Iterator[None]:
    """Allows classes and functions within a `with` block; see `add_safe_globals`."""
    before = dict(_safe_names)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _safe_names.clear()
        _safe_names.update(before)


def _write(obj: Any, file: Any, folder_name: str, pickle_protocol: int) -> None:
    from flambeau._archive import ArchiveWriter
    from flambeau._checkpoint_pickle import CheckpointPickler

    pickler = CheckpointPickler(pickle_protocol)
    content = pickler.dumps(obj)
    archive = ArchiveWriter(file, folder_name)
    archive.add("data.pkl", content)
    archive.add("byteorder", b"little")
    for key, storage in pickler.storages():
        archive.add(f"data/{key}", storage)
    archive.add("version", _FORMAT_VERSION)
    archive.finish()


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[Any]:
    """Opens a new file beside `path`, which takes its place when all went well."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        with open(path, "wb") as device:  # a pipe or a terminal cannot be replaced
            yield device
        return
    folder, name = os.path.split(path)
    passing = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.chmod(passing, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(passing, path)
    except BaseException:
        os.unlink(passing)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Makes the new name of a file outlive a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(file: Any, name: str, map_location: MapLocation, safe: bool, maps: bool) -> Any:
    # Imported here: a program that saves and loads nothing does not need them.
    from flambeau._archive import ArchiveReader
    from flambeau._checkpoint_pickle import CheckpointUnpickler, SafeUnpickler

    archive = ArchiveReader(file, name)
    if "constants.pkl" in archive:
        raise RuntimeError(
            f"load: {name} is a TorchScript archive; load it with PyTorch and save its state_dict"
        )
    if "byteorder" in archive and archive.read("byteorder") != b"little":
        raise RuntimeError(
            f"load: {name} was saved on a big-endian machine; save it again on a little-endian one"
        )
    storages = _Storages(archive, file if maps else None, map_location)
    content = archive.read("data.pkl")
    if not safe:
        return CheckpointUnpickler(content, storages.get).load()
    unpickler = SafeUnpickler(content, storages.get, _safe_names)
    try:
        return unpickler.load()
    except Exception as error:
        if unpickler.explains(error):
            raise
        raise archive.damage(f"data.pkl cannot be understood: {error!r}") from error


class _Storages:
    """The storages of an archive, read when they are first asked for."""

    def __init__(self, archive: ArchiveReader, mapped_file: Any, map_location: MapLocation) -> None:
        self._archive = archive
        self._map_location = map_location
        self._loaded: dict[str, Any] = {}
        self._mapped: memoryview | None = None
        if mapped_file is not None:
            import mmap

            content = mmap.mmap(mapped_file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._mapped = memoryview(content)

    def get(self, key: str, nbytes: int, location: str) -> Tensor:
        """Returns storage `key` as a tensor of bytes, on its device."""
        if key not in self._loaded:
            if self._archive.size(f"data/{key}") != nbytes:
                raise self._archive.damage(f"storage {key} has a wrong length")
            self._loaded[key] = _placed(self._read(key, nbytes), location, self._map_location)
        return self._loaded[key]

    def _read(self, key: str, nbytes: int) -> Tensor:
        import flambeau
        from flambeau._buffers import tensor_bytes, tensor_from_bytes

        name = f"data/{key}"
        if self._mapped is not None:
            start = self._archive.offset(name)
            if start is not None and start % 16 == 0:  # aligned for every dtype
                part = self._mapped[start : start + nbytes]
                return tensor_from_bytes(part, flambeau.uint8, (nbytes,))
        storage = flambeau.empty(nbytes, dtype=flambeau.uint8)
        if nbytes:
            self._archive.read_into(name, tensor_bytes(storage))
        return storage


def _placed(storage: Tensor, location: str, map_location: MapLocation) -> Tensor:
    """Moves a storage, just read, to where it belongs."""
    from flambeau._pickle import placed

    target = location
    if isinstance(map_location, dict):
        target = str(map_location.get(location, location))
    elif callable(map_location):
        chosen = map_location(storage.untyped_storage(), location)
        target = location if chosen is None else str(chosen.device)
    elif map_location is not None:
        target = str(map_location)
    return placed(storage, target)
