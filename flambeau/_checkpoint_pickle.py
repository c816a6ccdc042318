"""The pickle inside a checkpoint; see Note [The .pt format]."""

from __future__ import annotations

import io
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import flambeau
from flambeau._buffers import storage_tensor, tensor_bytes

# The classes that stand for the element type of a storage.
_STORAGE_CLASSES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
_CLASS_OF_DTYPE = {dtype: name for name, dtype in reversed(_STORAGE_CLASSES.items())}


class _Name(NamedTuple):
    """A class or function of PyTorch, written by name only."""

    module: str
    name: str

    def __call__(self) -> None:
        """Callable, as the pickler demands of what a pickle calls."""


class _StorageReference(NamedTuple):
    dtype: str
    key: str
    location: str
    elements: int


class CheckpointPickler(pickle._Pickler):
    """Pickles an object and collects the storages of its tensors.

    The pickler written in Python: the one in C can only name what it can import.
    """

    write: Callable[[bytes], None]
    memoize: Callable[[Any], None]
    save: Callable[..., None]
    save_reduce: Callable[..., None]

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    def __init__(self, protocol: int) -> None:
        self._stream = io.BytesIO()
        super().__init__(self._stream, protocol)
        self._keys: dict[int, tuple[str, Any]] = {}  # address -> key, a tensor that uses it
        self._names: dict[_Name, _Name] = {}
        # Where nothing imported nn there is no parameter to save.
        if nn := sys.modules.get("flambeau.nn"):
            self.dispatch[nn.Parameter] = CheckpointPickler._save_parameter

    def dumps(self, value: Any) -> bytes:
        """Returns the pickle of `value`."""
        self.dump(value)
        return self._stream.getvalue()

    def storages(self) -> Iterator[tuple[str, memoryview]]:
        """Yields the key and the bytes of each storage."""
        for key, tensor in self._keys.values():
            yield key, tensor_bytes(storage_tensor(tensor).cpu())

    def _save_name(self, value: _Name) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        self.memoize(value)

    def _save_reference(self, value: _StorageReference) -> None:
        kind = _Name("torch", _CLASS_OF_DTYPE[value.dtype])
        identifier = ("storage", self._shared(kind), value.key, value.location, value.elements)
        self.save(identifier, save_persistent_id=False)
        self.write(pickle.BINPERSID)

    def _shared(self, name: _Name) -> _Name:
        """Returns one object per name, which the pickle then writes once."""
        return self._names.setdefault(name, name)

    def _reduce(self, value: Any, name: _Name, arguments: tuple[Any, ...]) -> None:
        self.save_reduce(self._shared(name), arguments, obj=value)

    def _save_tensor(self, tensor: Any) -> None:
        data = tensor.detach()
        storage = data.untyped_storage()
        # Empty storages have no address of their own.
        address = storage.data_ptr() if storage.nbytes() else ~len(self._keys)
        key, first = self._keys.setdefault(address, (str(len(self._keys)), data))
        if first.dtype != data.dtype:
            raise RuntimeError(
                f"save: tensors that share memory must have one dtype, got {first.dtype} and "
                f"{data.dtype}; call .clone() on one of them"
            )
        count = storage.nbytes() // data.element_size()
        dtype = str(data.dtype).removeprefix("torch.")
        reference = _StorageReference(dtype, key, str(data.device), count)
        arguments: tuple[Any, ...] = (
            *(reference, data.storage_offset(), tuple(data.shape), tuple(data.stride())),
            *(tensor.requires_grad, OrderedDict()),
        )
        self._reduce(tensor, _Name("torch._utils", "_rebuild_tensor_v2"), arguments)

    def _save_parameter(self, parameter: Any) -> None:
        arguments: tuple[Any, ...] = (parameter.data, parameter.requires_grad, OrderedDict())
        self._reduce(parameter, _Name("torch._utils", "_rebuild_parameter"), arguments)

    def _save_shape(self, shape: Any) -> None:
        self._reduce(shape, _Name("torch", "Size"), (tuple(shape),))

    def _save_device(self, device: Any) -> None:
        parts = (device.type,) if device.index is None else (device.type, device.index)
        self._reduce(device, _Name("torch", "device"), parts)

    def _save_dtype(self, dtype: Any) -> None:
        self.save(self._shared(_Name("torch", str(dtype).removeprefix("torch."))))

    dispatch[_Name] = _save_name
    dispatch[_StorageReference] = _save_reference
    dispatch[flambeau.Tensor] = _save_tensor
    dispatch[flambeau.Size] = _save_shape
    dispatch[flambeau.device] = _save_device
    dispatch[flambeau.dtype] = _save_dtype


class _LoadedStorage(NamedTuple):
    dtype: Any
    content: Any  # a tensor of bytes


class _StorageClass(NamedTuple):
    dtype: str


class CheckpointUnpickler(pickle.Unpickler):
    """Unpickles anything: the names of PyTorch mean Flambeau's things, other names are imported."""

    def __init__(self, content: bytes, get_storage: Callable[[str, int, str], Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._get_storage = get_storage

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name in the file stands for."""
        known = _known(module, name)
        if known is not None:
            return known
        if module == "torch" or module.startswith("torch."):
            return _flambeau_counterpart(module, name)
        return super().find_class(module, name)

    def persistent_load(self, identifier: Any) -> _LoadedStorage:
        """Returns the storage that an identifier in the file stands for."""
        kind, storage_class, key, location, count = identifier
        right = isinstance(storage_class, _StorageClass) and isinstance(key, str)
        if kind != "storage" or not right or not isinstance(location, str):
            raise pickle.UnpicklingError(f"wrong persistent id {identifier!r}")
        if not isinstance(count, int) or count < 0 or not key.isalnum():
            raise pickle.UnpicklingError(f"wrong persistent id {identifier!r}")
        dtype = getattr(flambeau, storage_class.dtype)
        size = flambeau.empty(0, dtype=dtype).element_size()
        return _LoadedStorage(dtype, self._get_storage(key, count * size, location))


class SafeUnpickler(CheckpointUnpickler):
    """Unpickles data only; every other name in the file is refused."""

    def __init__(
        self,
        content: bytes,
        get_storage: Callable[[str, int, str], Any],
        allowed: dict[str, Any],
    ) -> None:
        super().__init__(content, get_storage)
        self._allowed = allowed
        self._refusal: BaseException | None = None

    def find_class(self, module: str, name: str) -> Any:
        """Returns what an allowed name in the file stands for."""
        full = f"{module}.{name}"
        if full in self._allowed:
            return self._allowed[full]
        known = _known(module, name)
        if known is not None:
            return known
        self._refusal = pickle.UnpicklingError(
            f"load: Weights only load failed: the file names {full}, which is not allowed; if you "
            f"trust it, allow it with torch.serialization.add_safe_globals([{name}]), or let the "
            "file run any code with weights_only=False"
        )
        raise self._refusal

    def explains(self, error: BaseException) -> bool:
        """Whether `error` already tells the user what to do."""
        return error is self._refusal or str(error).startswith("load: ")


class _Function:
    """A function that a pickle may call, but cannot change."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"the pickle sets {name} of a function")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the pickle changes a function")


def _rebuild_tensor(
    storage: _LoadedStorage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Any:
    return _strided(storage, storage.dtype, offset, shape, strides, requires_grad)


def _rebuild_tensor_with_dtype(
    storage: _LoadedStorage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Any:
    return _strided(storage, dtype, offset, shape, strides, requires_grad)


def _strided(
    storage: _LoadedStorage, dtype: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any
) -> Any:
    """Returns a tensor over a storage, having checked that it stays inside."""
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise RuntimeError(f"wrong geometry: offset {offset}, shape {shape}, strides {strides}")
    content = storage.content.view(dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape:
        last = 0
    elif last >= content.numel():
        raise RuntimeError(
            f"a tensor of shape {shape} reaches beyond its storage of {content.numel()} elements"
        )
    # Detached, so that it does not count as a view of the bytes.
    tensor = content.as_strided(shape, strides, offset if last else 0).detach()
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_parameter(data: Any, requires_grad: bool, hooks: Any = None, state: Any = None) -> Any:
    parameter = flambeau.nn.Parameter(data, requires_grad=bool(requires_grad))
    if isinstance(state, dict):
        parameter.__dict__.update(state)
    return parameter


def _text_to_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written as latin1, got {encoding!r}")
    return text.encode("latin1")


def _to_bytearray(*arguments: Any) -> bytearray:
    if len(arguments) == 2:
        return bytearray(_text_to_bytes(*arguments))
    if arguments and not isinstance(arguments[0], bytes):
        raise pickle.UnpicklingError("a bytearray is made from bytes")
    return bytearray(*arguments)


_KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _Function(_rebuild_tensor),
    "torch._utils._rebuild_tensor": _Function(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v3": _Function(_rebuild_tensor_with_dtype),
    "torch._utils._rebuild_parameter": _Function(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": _Function(_rebuild_parameter),
    "torch.Size": _Function(flambeau.Size),
    "torch.device": _Function(flambeau.device),
    "torch.storage.UntypedStorage": _StorageClass("uint8"),
    "_codecs.encode": _Function(_text_to_bytes),
    "collections.OrderedDict": _Function(OrderedDict),
    "collections.Counter": _Function(Counter),
    "collections.defaultdict": _Function(defaultdict),
}
for _class, _dtype in _STORAGE_CLASSES.items():
    _KNOWN[f"torch.{_class}"] = _StorageClass(_dtype)
for _dtype in set(_STORAGE_CLASSES.values()):
    _KNOWN[f"torch.{_dtype}"] = getattr(flambeau, _dtype)
for _builtin in (set, frozenset, complex, list, dict, tuple, int, float, str, bool):
    _KNOWN[f"builtins.{_builtin.__name__}"] = _builtin
_KNOWN["builtins.bytearray"] = _Function(_to_bytearray)


def _known(module: str, name: str) -> Any:
    """Returns what PyTorch's name, or a harmless one of Python, stands for; else None."""
    return _KNOWN.get(f"{'builtins' if module == '__builtin__' else module}.{name}")


def _flambeau_counterpart(module: str, name: str) -> Any:
    """Returns the thing of Flambeau that corresponds to one of PyTorch."""
    import importlib

    for place in ("flambeau" + module[len("torch") :], "flambeau.nn", "flambeau"):
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise pickle.UnpicklingError(f"load: the file names {module}.{name}, which Flambeau lacks")
