"""Flambeau: tensors, automatic differentiation and neural networks with PyTorch's names.

`import flambeau as torch` runs a PyTorch script; `flambeau run script.py` one that imports torch.
"""

from __future__ import annotations

import importlib as _importlib
import os as _os
from typing import Any as _Any

# OpenBLAS starts threads when it is loaded, unless told otherwise; ours is the only pool.
_threads = _os.environ.get("OPENBLAS_NUM_THREADS")
_os.environ["OPENBLAS_NUM_THREADS"] = "1"
from flambeau import _core

if _threads is None:
    del _os.environ["OPENBLAS_NUM_THREADS"]
else:
    _os.environ["OPENBLAS_NUM_THREADS"] = _threads

from flambeau._core import (
    Generator,
    OutOfMemoryError,
    Tensor,
    bfloat16,
    bool,
    can_cast,
    channels_last,
    channels_last_3d,
    contiguous_format,
    device,
    dtype,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    memory_format,
    preserve_format,
    promote_types,
    set_default_dtype,
    uint8,
)
from flambeau._size import Size

# isort: split
from flambeau import _tensor as _tensor
from flambeau._creation import (
    as_tensor,
    asarray,
    from_numpy,
    frombuffer,
    is_complex,
    is_floating_point,
    is_storage,
    is_tensor,
    legacy_types,
    numel,
    tensor,
)
from flambeau.autograd._modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

# isort: split
from flambeau.ops import public_functions as _public_functions

__version__ = "0.1.0"

float = float32
double = float64
half = float16
long = int64
int = int32
short = int16

pi = 3.141592653589793
e = 2.718281828459045
inf = 1e999
nan = inf - inf
newaxis = None
strided = "torch.strided"

globals().update(_public_functions())
globals().update(legacy_types())

# What is not needed at once is imported when somebody asks for it.
_LAZY = {
    "manual_seed": "random",
    "seed": "random",
    "initial_seed": "random",
    "get_rng_state": "random",
    "set_rng_state": "random",
    "default_generator": "random",
    "from_dlpack": "_dlpack",
    "to_dlpack": "_dlpack",
    "save": "serialization",
    "load": "serialization",
    "set_printoptions": "_printing",
    "get_printoptions": "_printing",
    "pointwise": "ops",
    "cond": "compiler._control_flow",
    "while_loop": "compiler._control_flow",
    "scan": "compiler._control_flow",
    "map": "compiler._control_flow",
    "compile": "compiler",
    "autocast": "amp",
    "is_autocast_enabled": "amp._autocast",
    "set_autocast_enabled": "amp._autocast",
    "get_autocast_dtype": "amp._autocast",
    "set_autocast_dtype": "amp._autocast",
    "is_autocast_cpu_enabled": "amp._autocast",
    "set_autocast_cpu_enabled": "amp._autocast",
    "get_autocast_cpu_dtype": "amp._autocast",
    "set_autocast_cpu_dtype": "amp._autocast",
    "get_autocast_gpu_dtype": "amp._autocast",
    "set_autocast_gpu_dtype": "amp._autocast",
    "is_autocast_cache_enabled": "_core",
    "set_autocast_cache_enabled": "_core",
    "clear_autocast_cache": "_core",
    "autocast_increment_nesting": "_core",
    "autocast_decrement_nesting": "_core",
    "get_float32_matmul_precision": "backends._precision",
    "set_float32_matmul_precision": "backends._precision",
    "use_deterministic_algorithms": "backends._deterministic",
    "are_deterministic_algorithms_enabled": "backends._deterministic",
    "is_deterministic_algorithms_warn_only_enabled": "backends._deterministic",
    "set_deterministic_debug_mode": "backends._deterministic",
    "get_deterministic_debug_mode": "backends._deterministic",
    "finfo": "_limits",
    "iinfo": "_limits",
    "result_type": "_limits",
    "get_num_threads": "_limits",
    "set_num_threads": "_limits",
}
_SUBMODULES = frozenset(
    (
        "accelerator",
        "amp",
        "autograd",
        "backends",
        "compiler",
        "cuda",
        "distributed",
        "fft",
        "linalg",
        "nn",
        "ops",
        "optim",
        "random",
        "serialization",
        "special",
        "testing",
        "utils",
        "version",
    )
)


def __getattr__(name: str) -> _Any:
    module = _LAZY.get(name)
    if module is not None:
        value = getattr(_importlib.import_module("flambeau." + module), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        try:
            return _importlib.import_module("flambeau." + name)
        except ModuleNotFoundError as error:
            if error.name != "flambeau." + name:
                raise
    raise AttributeError(
        f"module 'flambeau' has no attribute '{name}'; if PyTorch has it, it is not built yet"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_SUBMODULES})
