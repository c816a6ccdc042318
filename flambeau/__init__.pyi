# Written by tools/stubs.py (`make stubs`); tests/test_stubs.py compares.
# mypy: disable-error-code="overload-cannot-match"
import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias, overload

from flambeau import accelerator as accelerator
from flambeau import amp as amp
from flambeau import autograd as autograd
from flambeau import backends as backends
from flambeau import compiler as compiler
from flambeau import cuda as cuda
from flambeau import nn as nn
from flambeau import ops as ops
from flambeau import optim as optim
from flambeau import random as random
from flambeau import serialization as serialization
from flambeau import testing as testing
from flambeau import utils as utils
from flambeau import version as version
from flambeau._core import Generator as Generator
from flambeau._core import OutOfMemoryError as OutOfMemoryError
from flambeau._core import Tensor as Tensor
from flambeau._core import autocast_decrement_nesting as autocast_decrement_nesting
from flambeau._core import autocast_increment_nesting as autocast_increment_nesting
from flambeau._core import bfloat16 as bfloat16
from flambeau._core import bool as bool
from flambeau._core import can_cast as can_cast
from flambeau._core import channels_last as channels_last
from flambeau._core import channels_last_3d as channels_last_3d
from flambeau._core import clear_autocast_cache as clear_autocast_cache
from flambeau._core import contiguous_format as contiguous_format
from flambeau._core import default_generator as default_generator
from flambeau._core import device as device
from flambeau._core import dtype as dtype
from flambeau._core import float16 as float16
from flambeau._core import float32 as float32
from flambeau._core import float64 as float64
from flambeau._core import get_default_dtype as get_default_dtype
from flambeau._core import int8 as int8
from flambeau._core import int16 as int16
from flambeau._core import int32 as int32
from flambeau._core import int64 as int64
from flambeau._core import is_autocast_cache_enabled as is_autocast_cache_enabled
from flambeau._core import is_grad_enabled as is_grad_enabled
from flambeau._core import is_inference_mode_enabled as is_inference_mode_enabled
from flambeau._core import memory_format as memory_format
from flambeau._core import preserve_format as preserve_format
from flambeau._core import promote_types as promote_types
from flambeau._core import set_autocast_cache_enabled as set_autocast_cache_enabled
from flambeau._core import set_default_dtype as set_default_dtype
from flambeau._core import uint8 as uint8
from flambeau._creation import as_tensor as as_tensor
from flambeau._creation import asarray as asarray
from flambeau._creation import from_numpy as from_numpy
from flambeau._creation import frombuffer as frombuffer
from flambeau._creation import is_complex as is_complex
from flambeau._creation import is_floating_point as is_floating_point
from flambeau._creation import is_storage as is_storage
from flambeau._creation import is_tensor as is_tensor
from flambeau._creation import legacy_types as legacy_types
from flambeau._creation import numel as numel
from flambeau._creation import tensor as tensor
from flambeau._dlpack import from_dlpack as from_dlpack
from flambeau._dlpack import to_dlpack as to_dlpack
from flambeau._limits import finfo as finfo
from flambeau._limits import get_num_threads as get_num_threads
from flambeau._limits import iinfo as iinfo
from flambeau._limits import result_type as result_type
from flambeau._limits import set_num_threads as set_num_threads
from flambeau._printing import get_printoptions as get_printoptions
from flambeau._printing import set_printoptions as set_printoptions
from flambeau._size import Size as Size
from flambeau.amp._autocast import autocast as autocast
from flambeau.amp._autocast import get_autocast_cpu_dtype as get_autocast_cpu_dtype
from flambeau.amp._autocast import get_autocast_dtype as get_autocast_dtype
from flambeau.amp._autocast import get_autocast_gpu_dtype as get_autocast_gpu_dtype
from flambeau.amp._autocast import is_autocast_cpu_enabled as is_autocast_cpu_enabled
from flambeau.amp._autocast import is_autocast_enabled as is_autocast_enabled
from flambeau.amp._autocast import set_autocast_cpu_dtype as set_autocast_cpu_dtype
from flambeau.amp._autocast import set_autocast_cpu_enabled as set_autocast_cpu_enabled
from flambeau.amp._autocast import set_autocast_dtype as set_autocast_dtype
from flambeau.amp._autocast import set_autocast_enabled as set_autocast_enabled
from flambeau.amp._autocast import set_autocast_gpu_dtype as set_autocast_gpu_dtype
from flambeau.autograd._modes import enable_grad as enable_grad
from flambeau.autograd._modes import inference_mode as inference_mode
from flambeau.autograd._modes import no_grad as no_grad
from flambeau.autograd._modes import set_grad_enabled as set_grad_enabled
from flambeau.backends._deterministic import (
    are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled,
)
from flambeau.backends._deterministic import (
    get_deterministic_debug_mode as get_deterministic_debug_mode,
)
from flambeau.backends._deterministic import (
    is_deterministic_algorithms_warn_only_enabled as is_deterministic_algorithms_warn_only_enabled,
)
from flambeau.backends._deterministic import (
    set_deterministic_debug_mode as set_deterministic_debug_mode,
)
from flambeau.backends._deterministic import (
    use_deterministic_algorithms as use_deterministic_algorithms,
)
from flambeau.backends._precision import (
    get_float32_matmul_precision as get_float32_matmul_precision,
)
from flambeau.backends._precision import (
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from flambeau.compiler._control_flow import cond as cond
from flambeau.compiler._control_flow import map as map
from flambeau.compiler._control_flow import scan as scan
from flambeau.compiler._control_flow import while_loop as while_loop
from flambeau.compiler._public import compile as compile
from flambeau.ops._compare import allclose as allclose
from flambeau.ops._compare import cdist as cdist
from flambeau.ops._compare import corrcoef as corrcoef
from flambeau.ops._compare import cov as cov
from flambeau.ops._compare import diff as diff
from flambeau.ops._compare import equal as equal
from flambeau.ops._compare import trapezoid as trapezoid
from flambeau.ops._products import chain_matmul as chain_matmul
from flambeau.ops._products import einsum as einsum
from flambeau.ops._products import tensordot as tensordot
from flambeau.ops._records import pointwise as pointwise
from flambeau.ops._shape import adjoint as adjoint
from flambeau.ops._shape import atleast_1d as atleast_1d
from flambeau.ops._shape import atleast_2d as atleast_2d
from flambeau.ops._shape import atleast_3d as atleast_3d
from flambeau.ops._shape import broadcast_tensors as broadcast_tensors
from flambeau.ops._shape import cartesian_prod as cartesian_prod
from flambeau.ops._shape import column_stack as column_stack
from flambeau.ops._shape import dstack as dstack
from flambeau.ops._shape import expand_as as expand_as
from flambeau.ops._shape import fliplr as fliplr
from flambeau.ops._shape import flipud as flipud
from flambeau.ops._shape import hsplit as hsplit
from flambeau.ops._shape import hstack as hstack
from flambeau.ops._shape import meshgrid as meshgrid
from flambeau.ops._shape import moveaxis as moveaxis
from flambeau.ops._shape import movedim as movedim
from flambeau.ops._shape import ravel as ravel
from flambeau.ops._shape import repeat as repeat
from flambeau.ops._shape import reshape_as as reshape_as
from flambeau.ops._shape import rot90 as rot90
from flambeau.ops._shape import tile as tile
from flambeau.ops._shape import unflatten as unflatten
from flambeau.ops._shape import view_as as view_as
from flambeau.ops._shape import vsplit as vsplit
from flambeau.ops._shape import vstack as vstack
from flambeau.random import get_rng_state as get_rng_state
from flambeau.random import initial_seed as initial_seed
from flambeau.random import manual_seed as manual_seed
from flambeau.random import seed as seed
from flambeau.random import set_rng_state as set_rng_state
from flambeau.serialization import load as load
from flambeau.serialization import save as save

_int: TypeAlias = builtins.int
_float: TypeAlias = builtins.float
_bool: TypeAlias = builtins.bool
_Number: TypeAlias = builtins.int | builtins.float | builtins.bool
_Ints: TypeAlias = builtins.int | Sequence[builtins.int]
_Device: TypeAlias = device | str | builtins.int
_dtype: TypeAlias = dtype
_memory_format: TypeAlias = memory_format
__version__: str
BFloat16Tensor: Any
BoolTensor: Any
ByteTensor: Any
CharTensor: Any
DoubleTensor: Any
FloatTensor: Any
HalfTensor: Any
IntTensor: Any
LongTensor: Any
ShortTensor: Any

def abs(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def abs_(input: Tensor | _Number) -> Tensor: ...
def absolute(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def absolute_(input: Tensor | _Number) -> Tensor: ...
def acos(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def acos_(input: Tensor | _Number) -> Tensor: ...
def acosh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def acosh_(input: Tensor | _Number) -> Tensor: ...
@overload
def adaptive_avg_pool1d(input: Tensor, output_size: _Ints) -> Tensor: ...
@overload
def adaptive_avg_pool1d(input: Tensor, *output_size: _int) -> Tensor: ...
@overload
def adaptive_avg_pool2d(input: Tensor, output_size: _Ints) -> Tensor: ...
@overload
def adaptive_avg_pool2d(input: Tensor, *output_size: _int) -> Tensor: ...
@overload
def adaptive_avg_pool3d(input: Tensor, output_size: _Ints) -> Tensor: ...
@overload
def adaptive_avg_pool3d(input: Tensor, *output_size: _int) -> Tensor: ...
@overload
def adaptive_max_pool1d(input: Tensor, output_size: _Ints) -> tuple[Tensor, ...]: ...
@overload
def adaptive_max_pool1d(input: Tensor, *output_size: _int) -> tuple[Tensor, ...]: ...
@overload
def adaptive_max_pool2d(input: Tensor, output_size: _Ints) -> tuple[Tensor, ...]: ...
@overload
def adaptive_max_pool2d(input: Tensor, *output_size: _int) -> tuple[Tensor, ...]: ...
@overload
def adaptive_max_pool3d(input: Tensor, output_size: _Ints) -> tuple[Tensor, ...]: ...
@overload
def adaptive_max_pool3d(input: Tensor, *output_size: _int) -> tuple[Tensor, ...]: ...
@overload
def add(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def add(
    input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1, out: Any = None
) -> Tensor: ...
@overload
def add_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def add_(input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1) -> Tensor: ...
def addbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: _Number = 1,
    alpha: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addbmm_(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: _Number = 1, alpha: _Number = 1
) -> Tensor: ...
def addcdiv(
    input: Tensor | _Number,
    tensor1: Tensor | _Number,
    tensor2: Tensor | _Number,
    *,
    value: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addcdiv_(
    input: Tensor | _Number,
    tensor1: Tensor | _Number,
    tensor2: Tensor | _Number,
    *,
    value: _Number = 1,
) -> Tensor: ...
def addcmul(
    input: Tensor | _Number,
    tensor1: Tensor | _Number,
    tensor2: Tensor | _Number,
    *,
    value: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addcmul_(
    input: Tensor | _Number,
    tensor1: Tensor | _Number,
    tensor2: Tensor | _Number,
    *,
    value: _Number = 1,
) -> Tensor: ...
def addmm(
    input: Tensor,
    mat1: Tensor,
    mat2: Tensor,
    *,
    beta: _Number = 1,
    alpha: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addmm_(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: _Number = 1, alpha: _Number = 1
) -> Tensor: ...
def addmv(
    input: Tensor,
    mat: Tensor,
    vec: Tensor,
    *,
    beta: _Number = 1,
    alpha: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addmv_(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: _Number = 1, alpha: _Number = 1
) -> Tensor: ...
def addr(
    input: Tensor,
    vec1: Tensor,
    vec2: Tensor,
    *,
    beta: _Number = 1,
    alpha: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def addr_(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: _Number = 1, alpha: _Number = 1
) -> Tensor: ...
def all(
    input: Tensor, dim: _Ints | None = None, keepdim: _bool = False, *, out: Any = None
) -> Tensor: ...
def amax(input: Tensor, dim: _Ints = (), keepdim: _bool = False, *, out: Any = None) -> Tensor: ...
def amin(input: Tensor, dim: _Ints = (), keepdim: _bool = False, *, out: Any = None) -> Tensor: ...
def aminmax(
    input: Tensor, *, dim: _int | None = None, keepdim: _bool = False, out: Any = None
) -> Any: ...
def any(
    input: Tensor, dim: _Ints | None = None, keepdim: _bool = False, *, out: Any = None
) -> Tensor: ...
@overload
def arange(
    end: _Number,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def arange(
    start: _Number,
    end: _Number,
    step: _Number = 1,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def arccos(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arccos_(input: Tensor | _Number) -> Tensor: ...
def arccosh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arccosh_(input: Tensor | _Number) -> Tensor: ...
def arcsin(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arcsin_(input: Tensor | _Number) -> Tensor: ...
def arcsinh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arcsinh_(input: Tensor | _Number) -> Tensor: ...
def arctan(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arctan2(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arctan2_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def arctan_(input: Tensor | _Number) -> Tensor: ...
def arctanh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def arctanh_(input: Tensor | _Number) -> Tensor: ...
def argmax(
    input: Tensor, dim: _int | None = None, keepdim: _bool = False, *, out: Any = None
) -> Tensor: ...
def argmin(
    input: Tensor, dim: _int | None = None, keepdim: _bool = False, *, out: Any = None
) -> Tensor: ...
def argsort(
    input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False
) -> Tensor: ...
def as_strided(
    input: Tensor, size: _Ints, stride: _Ints, storage_offset: _int | None = None
) -> Tensor: ...
def asin(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def asin_(input: Tensor | _Number) -> Tensor: ...
def asinh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def asinh_(input: Tensor | _Number) -> Tensor: ...
def atan(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def atan2(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def atan2_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def atan_(input: Tensor | _Number) -> Tensor: ...
def atanh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def atanh_(input: Tensor | _Number) -> Tensor: ...
def avg_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    ceil_mode: _bool = False,
    count_include_pad: _bool = True,
) -> Tensor: ...
def avg_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    ceil_mode: _bool = False,
    count_include_pad: _bool = True,
    divisor_override: _int | None = None,
) -> Tensor: ...
def avg_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    ceil_mode: _bool = False,
    count_include_pad: _bool = True,
    divisor_override: _int | None = None,
) -> Tensor: ...
def baddbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: _Number = 1,
    alpha: _Number = 1,
    out: Any = None,
) -> Tensor: ...
def baddbmm_(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: _Number = 1, alpha: _Number = 1
) -> Tensor: ...
@overload
def bernoulli(input: Tensor, *, generator: Generator | None = None, out: Any = None) -> Tensor: ...
@overload
def bernoulli(
    input: Tensor, p: _float, *, generator: Generator | None = None, out: Any = None
) -> Tensor: ...
def bincount(input: Tensor, weights: Tensor | None = None, minlength: _int = 0) -> Tensor: ...
def bitwise_and(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def bitwise_and_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def bitwise_left_shift(
    input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def bitwise_left_shift_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def bitwise_not(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def bitwise_not_(input: Tensor | _Number) -> Tensor: ...
def bitwise_or(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def bitwise_or_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def bitwise_right_shift(
    input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def bitwise_right_shift_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def bitwise_xor(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def bitwise_xor_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def bmm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def broadcast_to(input: Tensor, size: _Ints) -> Tensor: ...
@overload
def broadcast_to(input: Tensor, *size: _int) -> Tensor: ...
@overload
def bucketize(
    input: Tensor,
    boundaries: Tensor,
    *,
    out_int32: _bool = False,
    right: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def bucketize(
    input: _Number,
    boundaries: Tensor,
    *,
    out_int32: _bool = False,
    right: _bool = False,
    out: Any = None,
) -> Tensor: ...
def cat(tensors: Sequence[Tensor], dim: _int = 0, *, out: Any = None) -> Tensor: ...
def ceil(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def ceil_(input: Tensor | _Number) -> Tensor: ...
def celu(input: Tensor | _Number, alpha: _Number = 1.0, *, out: Any = None) -> Tensor: ...
def celu_(input: Tensor | _Number, alpha: _Number = 1.0) -> Tensor: ...
def chunk(input: Tensor, chunks: _int, dim: _int = 0) -> tuple[Tensor, ...]: ...
@overload
def clamp(
    input: Tensor | _Number, min: Tensor | _Number, max: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
@overload
def clamp(input: Tensor | _Number, min: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def clamp(input: Tensor | _Number, max: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def clamp(
    input: Tensor, min: _Number | None = None, max: _Number | None = None, *, out: Any = None
) -> Tensor: ...
@overload
def clamp(
    input: Tensor, min: Tensor | None = None, max: Tensor | None = None, *, out: Any = None
) -> Tensor: ...
@overload
def clamp_(input: Tensor | _Number, min: Tensor | _Number, max: Tensor | _Number) -> Tensor: ...
@overload
def clamp_(input: Tensor | _Number, min: Tensor | _Number) -> Tensor: ...
@overload
def clamp_(input: Tensor | _Number, max: Tensor | _Number) -> Tensor: ...
@overload
def clamp_(input: Tensor, min: _Number | None = None, max: _Number | None = None) -> Tensor: ...
@overload
def clamp_(input: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor: ...
def clamp_max(input: Tensor | _Number, max: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def clamp_max_(input: Tensor | _Number, max: Tensor | _Number) -> Tensor: ...
def clamp_min(input: Tensor | _Number, min: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def clamp_min_(input: Tensor | _Number, min: Tensor | _Number) -> Tensor: ...
@overload
def clip(
    input: Tensor | _Number, min: Tensor | _Number, max: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
@overload
def clip(input: Tensor | _Number, min: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def clip(input: Tensor | _Number, max: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def clip(
    input: Tensor, min: _Number | None = None, max: _Number | None = None, *, out: Any = None
) -> Tensor: ...
@overload
def clip(
    input: Tensor, min: Tensor | None = None, max: Tensor | None = None, *, out: Any = None
) -> Tensor: ...
@overload
def clip_(input: Tensor | _Number, min: Tensor | _Number, max: Tensor | _Number) -> Tensor: ...
@overload
def clip_(input: Tensor | _Number, min: Tensor | _Number) -> Tensor: ...
@overload
def clip_(input: Tensor | _Number, max: Tensor | _Number) -> Tensor: ...
@overload
def clip_(input: Tensor, min: _Number | None = None, max: _Number | None = None) -> Tensor: ...
@overload
def clip_(input: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor: ...
def clone(input: Tensor, *, memory_format: _memory_format | None = None) -> Tensor: ...
def concat(tensors: Sequence[Tensor], dim: _int = 0, *, out: Any = None) -> Tensor: ...
def concatenate(tensors: Sequence[Tensor], dim: _int = 0, *, out: Any = None) -> Tensor: ...
@overload
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: str = "valid",
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: str = "valid",
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: str = "valid",
    dilation: _Ints = 1,
    groups: _int = 1,
) -> Tensor: ...
@overload
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    dilation: _Ints = 1,
) -> Tensor: ...
@overload
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    *dilation: _int,
) -> Tensor: ...
@overload
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    dilation: _Ints = 1,
) -> Tensor: ...
@overload
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    *dilation: _int,
) -> Tensor: ...
@overload
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    dilation: _Ints = 1,
) -> Tensor: ...
@overload
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Ints = 1,
    padding: _Ints = 0,
    output_padding: _Ints = 0,
    groups: _int = 1,
    *dilation: _int,
) -> Tensor: ...
def copysign(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def copysign_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def cos(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def cos_(input: Tensor | _Number) -> Tensor: ...
def cosh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def cosh_(input: Tensor | _Number) -> Tensor: ...
@overload
def count_nonzero(input: Tensor, dim: _Ints | None = None, *, out: Any = None) -> Tensor: ...
@overload
def count_nonzero(input: Tensor, *dim: _int, out: Any = None) -> Tensor: ...
def cummax(input: Tensor, dim: _int, *, out: Any = None) -> Any: ...
def cummin(input: Tensor, dim: _int, *, out: Any = None) -> Any: ...
def cumprod(
    input: Tensor, dim: _int, *, dtype: _dtype | None = None, out: Any = None
) -> Tensor: ...
def cumprod_(input: Tensor, dim: _int, *, dtype: _dtype | None = None) -> Tensor: ...
def cumsum(input: Tensor, dim: _int, *, dtype: _dtype | None = None, out: Any = None) -> Tensor: ...
def cumsum_(input: Tensor, dim: _int, *, dtype: _dtype | None = None) -> Tensor: ...
def deg2rad(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def deg2rad_(input: Tensor | _Number) -> Tensor: ...
def diag(input: Tensor, diagonal: _int = 0, *, out: Any = None) -> Tensor: ...
def diag_embed(input: Tensor, offset: _int = 0, dim1: _int = -2, dim2: _int = -1) -> Tensor: ...
def diagonal(input: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor: ...
def digamma(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def digamma_(input: Tensor | _Number) -> Tensor: ...
@overload
def div(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def div(
    input: Tensor | _Number, other: Tensor | _Number, *, rounding_mode: str | None, out: Any = None
) -> Tensor: ...
@overload
def div_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def div_(
    input: Tensor | _Number, other: Tensor | _Number, *, rounding_mode: str | None
) -> Tensor: ...
@overload
def divide(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def divide(
    input: Tensor | _Number, other: Tensor | _Number, *, rounding_mode: str | None, out: Any = None
) -> Tensor: ...
@overload
def divide_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def divide_(
    input: Tensor | _Number, other: Tensor | _Number, *, rounding_mode: str | None
) -> Tensor: ...
def dot(input: Tensor, tensor: Tensor, *, out: Any = None) -> Tensor: ...

double: _dtype

def dropout(input: Tensor, p: _float, train: _bool) -> Tensor: ...
def dropout_(input: Tensor, p: _float, train: _bool) -> Tensor: ...

e: _float

def elu(input: Tensor | _Number, alpha: _Number = 1.0, *, out: Any = None) -> Tensor: ...
def elu_(input: Tensor | _Number, alpha: _Number = 1.0) -> Tensor: ...
def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: _int = -1,
    scale_grad_by_freq: _bool = False,
    sparse: _bool = False,
) -> Tensor: ...
@overload
def empty(
    size: _Ints,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
    out: Any = None,
) -> Tensor: ...
@overload
def empty(
    *size: _int,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
    out: Any = None,
) -> Tensor: ...
def empty_like(
    input: Tensor,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
def eq(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def eq_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def erf(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def erf_(input: Tensor | _Number) -> Tensor: ...
def erfc(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def erfc_(input: Tensor | _Number) -> Tensor: ...
def erfinv(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def erfinv_(input: Tensor | _Number) -> Tensor: ...
def exp(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def exp2(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def exp2_(input: Tensor | _Number) -> Tensor: ...
def exp_(input: Tensor | _Number) -> Tensor: ...
def expm1(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def expm1_(input: Tensor | _Number) -> Tensor: ...
def eye(
    n: _int,
    m: _int | None = None,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def fix(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def fix_(input: Tensor | _Number) -> Tensor: ...
def flatten(input: Tensor, start_dim: _int = 0, end_dim: _int = -1) -> Tensor: ...
@overload
def flip(input: Tensor, dims: _Ints) -> Tensor: ...
@overload
def flip(input: Tensor, *dims: _int) -> Tensor: ...

float: _dtype

def floor(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def floor_(input: Tensor | _Number) -> Tensor: ...
def floor_divide(
    input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def floor_divide_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def fmax(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def fmax_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def fmin(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def fmin_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def fmod(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def fmod_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def frac(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def frac_(input: Tensor | _Number) -> Tensor: ...
def full(
    size: _Ints,
    fill_value: _Number,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def full_like(
    input: Tensor,
    fill_value: _Number,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
def gather(
    input: Tensor, dim: _int, index: Tensor, *, sparse_grad: _bool = False, out: Any = None
) -> Tensor: ...
def ge(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def ge_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def gelu(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def gelu(input: Tensor, *, approximate: str, out: Any = None) -> Tensor: ...
def ger(input: Tensor, vec2: Tensor, *, out: Any = None) -> Tensor: ...
def greater(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def greater_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def greater_equal(
    input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def greater_equal_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def gt(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def gt_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...

half: _dtype

def hardshrink(input: Tensor | _Number, lambd: _Number = 0.5, *, out: Any = None) -> Tensor: ...
def hardsigmoid(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def hardsigmoid_(input: Tensor | _Number) -> Tensor: ...
def hardswish(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def hardswish_(input: Tensor | _Number) -> Tensor: ...
def hardtanh(
    input: Tensor | _Number, min_val: _Number = -1.0, max_val: _Number = 1.0, *, out: Any = None
) -> Tensor: ...
def hardtanh_(
    input: Tensor | _Number, min_val: _Number = -1.0, max_val: _Number = 1.0
) -> Tensor: ...
def heaviside(input: Tensor | _Number, values: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def heaviside_(input: Tensor | _Number, values: Tensor | _Number) -> Tensor: ...
def histc(
    input: Tensor, bins: _int = 100, min: _Number = 0, max: _Number = 0, *, out: Any = None
) -> Tensor: ...
def hypot(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def hypot_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def index_add(
    input: Tensor, dim: _int, index: Tensor, source: Tensor, *, alpha: _Number = 1, out: Any = None
) -> Tensor: ...
def index_add_(
    input: Tensor, dim: _int, index: Tensor, source: Tensor, *, alpha: _Number = 1
) -> Tensor: ...
def index_copy(
    input: Tensor, dim: _int, index: Tensor, source: Tensor, *, out: Any = None
) -> Tensor: ...
def index_copy_(input: Tensor, dim: _int, index: Tensor, source: Tensor) -> Tensor: ...
def index_fill(
    input: Tensor, dim: _int, index: Tensor, value: _Number, *, out: Any = None
) -> Tensor: ...
def index_fill_(input: Tensor, dim: _int, index: Tensor, value: _Number) -> Tensor: ...
def index_put(
    input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: _bool = False
) -> Tensor: ...
def index_put_(
    input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: _bool = False
) -> Tensor: ...
def index_select(input: Tensor, dim: _int, index: Tensor, *, out: Any = None) -> Tensor: ...

inf: _float

def inner(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor: ...

int: _dtype

def isclose(
    input: Tensor | _Number,
    other: Tensor | _Number,
    rtol: _Number = 1e-05,
    atol: _Number = 1e-08,
    equal_nan: _Number = False,
) -> Tensor: ...
def isfinite(input: Tensor | _Number) -> Tensor: ...
def isinf(input: Tensor | _Number) -> Tensor: ...
def isnan(input: Tensor | _Number) -> Tensor: ...
def isneginf(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def isposinf(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def kthvalue(
    input: Tensor, k: _int, dim: _int = -1, keepdim: _bool = False, *, out: Any = None
) -> Any: ...
def layer_norm(
    input: Tensor,
    normalized_shape: _Ints,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: _float = 1e-05,
) -> Tensor: ...
def ldexp(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def ldexp_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def le(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def le_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def leaky_relu(
    input: Tensor | _Number, negative_slope: _Number = 0.01, *, out: Any = None
) -> Tensor: ...
def leaky_relu_(input: Tensor | _Number, negative_slope: _Number = 0.01) -> Tensor: ...
def lerp(
    input: Tensor | _Number, end: Tensor | _Number, weight: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def lerp_(input: Tensor | _Number, end: Tensor | _Number, weight: Tensor | _Number) -> Tensor: ...
def less(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def less_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def less_equal(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def less_equal_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def lgamma(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def lgamma_(input: Tensor | _Number) -> Tensor: ...
def linspace(
    start: _float,
    end: _float,
    steps: _int,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def log(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def log10(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def log10_(input: Tensor | _Number) -> Tensor: ...
def log1p(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def log1p_(input: Tensor | _Number) -> Tensor: ...
def log2(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def log2_(input: Tensor | _Number) -> Tensor: ...
def log_(input: Tensor | _Number) -> Tensor: ...
def log_softmax(
    input: Tensor, dim: _int, dtype: _dtype | None = None, *, out: Any = None
) -> Tensor: ...
def logaddexp(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logaddexp2(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logcumsumexp(input: Tensor, dim: _int, *, out: Any = None) -> Tensor: ...
def logical_and(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logical_and_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def logical_not(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logical_not_(input: Tensor | _Number) -> Tensor: ...
def logical_or(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logical_or_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def logical_xor(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def logical_xor_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def logit(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def logit(input: Tensor | _Number, *, eps: _Number, out: Any = None) -> Tensor: ...
@overload
def logit_(input: Tensor | _Number) -> Tensor: ...
@overload
def logit_(input: Tensor | _Number, *, eps: _Number) -> Tensor: ...
def logsigmoid(input: Tensor | _Number) -> Tensor: ...
def logspace(
    start: _float,
    end: _float,
    steps: _int,
    base: _float = 10.0,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def logsumexp(input: Tensor, dim: _Ints, keepdim: _bool = False, *, out: Any = None) -> Tensor: ...

long: _dtype

def lt(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def lt_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def masked_fill(
    input: Tensor | _Number, mask: Tensor | _Number, value: Tensor | _Number, *, out: Any = None
) -> Tensor: ...
def masked_fill_(
    input: Tensor | _Number, mask: Tensor | _Number, value: Tensor | _Number
) -> Tensor: ...
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor, *, out: Any = None) -> Tensor: ...
def masked_scatter_(input: Tensor, mask: Tensor, source: Tensor) -> Tensor: ...
def masked_select(input: Tensor, mask: Tensor, *, out: Any = None) -> Tensor: ...
def matmul(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def max(input: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def max(input: Tensor, dim: _int, keepdim: _bool = False, *, out: Any = None) -> Any: ...
@overload
def max(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor: ...
def max_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
    return_indices: _bool = False,
) -> Any: ...
def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
) -> tuple[Tensor, ...]: ...
def max_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
    return_indices: _bool = False,
) -> Any: ...
def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
) -> tuple[Tensor, ...]: ...
def max_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
    return_indices: _bool = False,
) -> Any: ...
def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    dilation: _Ints = 1,
    ceil_mode: _bool = False,
) -> tuple[Tensor, ...]: ...
def maximum(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def maximum_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def mean(
    input: Tensor,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    *,
    dtype: _dtype | None = None,
    out: Any = None,
) -> Tensor: ...
@overload
def median(input: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def median(input: Tensor, dim: _int, keepdim: _bool = False, *, out: Any = None) -> Any: ...
@overload
def min(input: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def min(input: Tensor, dim: _int, keepdim: _bool = False, *, out: Any = None) -> Any: ...
@overload
def min(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor: ...
def minimum(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def minimum_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def mish(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def mish_(input: Tensor | _Number) -> Tensor: ...
def mm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor: ...
def mode(input: Tensor, dim: _int = -1, keepdim: _bool = False, *, out: Any = None) -> Any: ...
def msort(input: Tensor, *, out: Any = None) -> Tensor: ...
def mul(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def mul_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def multinomial(
    input: Tensor,
    num_samples: _int,
    replacement: _bool = False,
    *,
    generator: Generator | None = None,
    out: Any = None,
) -> Tensor: ...
def multiply(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def multiply_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def mv(input: Tensor, vec: Tensor, *, out: Any = None) -> Tensor: ...

nan: _float

def nan_to_num(
    input: Tensor,
    nan: _float | None = 0.0,
    posinf: _float | None = None,
    neginf: _float | None = None,
    *,
    out: Any = None,
) -> Tensor: ...
def nan_to_num_(
    input: Tensor,
    nan: _float | None = 0.0,
    posinf: _float | None = None,
    neginf: _float | None = None,
) -> Tensor: ...
def nanmean(
    input: Tensor,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    *,
    dtype: _dtype | None = None,
    out: Any = None,
) -> Tensor: ...
@overload
def nanmedian(input: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def nanmedian(input: Tensor, dim: _int, keepdim: _bool = False, *, out: Any = None) -> Any: ...
@overload
def nanquantile(
    input: Tensor,
    q: _float,
    dim: _int | None = None,
    keepdim: _bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Tensor: ...
@overload
def nanquantile(
    input: Tensor,
    q: Tensor,
    dim: _int | None = None,
    keepdim: _bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Tensor: ...
def nansum(
    input: Tensor,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    *,
    dtype: _dtype | None = None,
    out: Any = None,
) -> Tensor: ...
def narrow(input: Tensor, dim: _int, start: _int, length: _int) -> Tensor: ...
def ne(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def ne_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def neg(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def neg_(input: Tensor | _Number) -> Tensor: ...
def negative(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def negative_(input: Tensor | _Number) -> Tensor: ...

newaxis: Any

def nextafter(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def nonzero(input: Tensor, *, as_tuple: _bool = False, out: Any = None) -> Any: ...
@overload
def norm(
    input: Tensor,
    p: _Number | None = 2,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    dtype: _dtype | None = None,
    *,
    out: Any = None,
) -> Tensor: ...
@overload
def norm(
    input: Tensor,
    p: str,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    dtype: _dtype | None = None,
    *,
    out: Any = None,
) -> Tensor: ...
@overload
def normal(
    mean: _float,
    std: _float,
    size: _Ints,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def normal(
    mean: _float,
    std: _float,
    *size: _int,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def normal(
    mean: Tensor | _Number = 0.0,
    std: Tensor | _Number = 1.0,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor: ...
def not_equal(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def not_equal_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def ones(
    size: _Ints,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def ones(
    *size: _int,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def ones_like(
    input: Tensor,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
def outer(input: Tensor, vec2: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def permute(input: Tensor, dims: _Ints) -> Tensor: ...
@overload
def permute(input: Tensor, *dims: _int) -> Tensor: ...

pi: _float

def polygamma(n: Tensor | _Number, input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def pow(input: Tensor | _Number, exponent: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def pow_(input: Tensor | _Number, exponent: Tensor | _Number) -> Tensor: ...
def prod(
    input: Tensor,
    dim: _int | None = None,
    keepdim: _bool = False,
    *,
    dtype: _dtype | None = None,
    out: Any = None,
) -> Tensor: ...
def put(
    input: Tensor, index: Tensor, source: Tensor, accumulate: _bool = False, *, out: Any = None
) -> Tensor: ...
def put_(input: Tensor, index: Tensor, source: Tensor, accumulate: _bool = False) -> Tensor: ...
@overload
def quantile(
    input: Tensor,
    q: _float,
    dim: _int | None = None,
    keepdim: _bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Tensor: ...
@overload
def quantile(
    input: Tensor,
    q: Tensor,
    dim: _int | None = None,
    keepdim: _bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Tensor: ...
def rad2deg(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def rad2deg_(input: Tensor | _Number) -> Tensor: ...
@overload
def rand(
    size: _Ints,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def rand(
    *size: _int,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
@overload
def randint(
    low: _int,
    high: _int,
    size: _Ints,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def randint(
    low: _int,
    high: _int,
    *size: _int,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def randint(
    high: _int,
    size: _Ints,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def randint(
    high: _int,
    *size: _int,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def randint_like(
    input: Tensor,
    low: _int,
    high: _int,
    *,
    generator: Generator | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
@overload
def randint_like(
    input: Tensor,
    high: _int,
    *,
    generator: Generator | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
@overload
def randn(
    size: _Ints,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
@overload
def randn(
    *size: _int,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
def randperm(
    n: _int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
) -> Tensor: ...
def reciprocal(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def reciprocal_(input: Tensor | _Number) -> Tensor: ...
def relu(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def relu6(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def relu6_(input: Tensor | _Number) -> Tensor: ...
def relu_(input: Tensor | _Number) -> Tensor: ...
def remainder(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def remainder_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def repeat_interleave(
    input: Tensor, repeats: Tensor, dim: _int | None = None, *, output_size: _int | None = None
) -> Tensor: ...
@overload
def repeat_interleave(
    input: Tensor, repeats: _int, dim: _int | None = None, *, output_size: _int | None = None
) -> Tensor: ...
@overload
def repeat_interleave(repeats: Tensor, *, output_size: _int | None = None) -> Tensor: ...
@overload
def reshape(input: Tensor, shape: _Ints) -> Tensor: ...
@overload
def reshape(input: Tensor, *shape: _int) -> Tensor: ...
def rms_norm(
    input: Tensor, normalized_shape: _Ints, weight: Tensor | None = None, eps: _float | None = None
) -> Tensor: ...
@overload
def roll(input: Tensor, shifts: _Ints, dims: _Ints = ()) -> Tensor: ...
@overload
def roll(input: Tensor, shifts: _Ints, *dims: _int) -> Tensor: ...
@overload
def round(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def round(input: Tensor, *, decimals: _int, out: Any = None) -> Tensor: ...
@overload
def round_(input: Tensor | _Number) -> Tensor: ...
@overload
def round_(input: Tensor, *, decimals: _int) -> Tensor: ...
def rsqrt(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def rsqrt_(input: Tensor | _Number) -> Tensor: ...
def rsub(input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1) -> Tensor: ...
@overload
def scatter(input: Tensor, dim: _int, index: Tensor, src: Tensor, *, out: Any = None) -> Tensor: ...
@overload
def scatter(
    input: Tensor, dim: _int, index: Tensor, value: _Number, *, out: Any = None
) -> Tensor: ...
@overload
def scatter(
    input: Tensor, dim: _int, index: Tensor, src: Tensor, *, reduce: str, out: Any = None
) -> Tensor: ...
@overload
def scatter(
    input: Tensor, dim: _int, index: Tensor, value: _Number, *, reduce: str, out: Any = None
) -> Tensor: ...
@overload
def scatter_(input: Tensor, dim: _int, index: Tensor, src: Tensor) -> Tensor: ...
@overload
def scatter_(input: Tensor, dim: _int, index: Tensor, value: _Number) -> Tensor: ...
@overload
def scatter_(input: Tensor, dim: _int, index: Tensor, src: Tensor, *, reduce: str) -> Tensor: ...
@overload
def scatter_(input: Tensor, dim: _int, index: Tensor, value: _Number, *, reduce: str) -> Tensor: ...
def scatter_add(
    input: Tensor, dim: _int, index: Tensor, src: Tensor, *, out: Any = None
) -> Tensor: ...
def scatter_add_(input: Tensor, dim: _int, index: Tensor, src: Tensor) -> Tensor: ...
def scatter_reduce(
    input: Tensor,
    dim: _int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: _bool = True,
    out: Any = None,
) -> Tensor: ...
def scatter_reduce_(
    input: Tensor, dim: _int, index: Tensor, src: Tensor, reduce: str, *, include_self: _bool = True
) -> Tensor: ...
@overload
def searchsorted(
    sorted_sequence: Tensor,
    input: Tensor,
    *,
    out_int32: _bool = False,
    right: _bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
    out: Any = None,
) -> Tensor: ...
@overload
def searchsorted(
    sorted_sequence: Tensor,
    input: _Number,
    *,
    out_int32: _bool = False,
    right: _bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
    out: Any = None,
) -> Tensor: ...
def select(input: Tensor, dim: _int, index: _int) -> Tensor: ...
def selu(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def selu_(input: Tensor | _Number) -> Tensor: ...
def sgn(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sgn_(input: Tensor | _Number) -> Tensor: ...

short: _dtype

def sigmoid(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sigmoid_(input: Tensor | _Number) -> Tensor: ...
def sign(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sign_(input: Tensor | _Number) -> Tensor: ...
def signbit(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def silu(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def silu_(input: Tensor | _Number) -> Tensor: ...
def sin(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sin_(input: Tensor | _Number) -> Tensor: ...
def sinc(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sinc_(input: Tensor | _Number) -> Tensor: ...
def sinh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sinh_(input: Tensor | _Number) -> Tensor: ...
def softmax(
    input: Tensor, dim: _int, dtype: _dtype | None = None, *, out: Any = None
) -> Tensor: ...
def softplus(
    input: Tensor | _Number, beta: _Number = 1, threshold: _Number = 20, *, out: Any = None
) -> Tensor: ...
def softshrink(input: Tensor | _Number, lambd: _Number = 0.5, *, out: Any = None) -> Tensor: ...
def softsign(input: Tensor | _Number) -> Tensor: ...
def sort(
    input: Tensor,
    dim: _int = -1,
    descending: _bool = False,
    *,
    stable: _bool | None = None,
    out: Any = None,
) -> Any: ...
@overload
def split(tensor: Tensor, split_size_or_sections: _int, dim: _int = 0) -> tuple[Tensor, ...]: ...
@overload
def split(tensor: Tensor, split_size_or_sections: _Ints, dim: _int = 0) -> tuple[Tensor, ...]: ...
@overload
def split(tensor: Tensor, split_size: _int, dim: _int = 0) -> tuple[Tensor, ...]: ...
@overload
def split(tensor: Tensor, split_size: _Ints, dim: _int = 0) -> tuple[Tensor, ...]: ...
def split_with_sizes(input: Tensor, split_sizes: _Ints, dim: _int = 0) -> tuple[Tensor, ...]: ...
def sqrt(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def sqrt_(input: Tensor | _Number) -> Tensor: ...
def square(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def square_(input: Tensor | _Number) -> Tensor: ...
@overload
def squeeze(input: Tensor, dim: _int) -> Tensor: ...
@overload
def squeeze(input: Tensor, dim: _Ints) -> Tensor: ...
@overload
def squeeze(input: Tensor, *dim: _int) -> Tensor: ...
@overload
def squeeze(input: Tensor) -> Tensor: ...
@overload
def squeeze_(input: Tensor, dim: _int) -> Tensor: ...
@overload
def squeeze_(input: Tensor, dim: _Ints) -> Tensor: ...
@overload
def squeeze_(input: Tensor, *dim: _int) -> Tensor: ...
@overload
def squeeze_(input: Tensor) -> Tensor: ...
def stack(tensors: Sequence[Tensor], dim: _int = 0, *, out: Any = None) -> Tensor: ...
@overload
def std(input: Tensor, unbiased: _bool, *, out: Any = None) -> Tensor: ...
@overload
def std(
    input: Tensor,
    dim: _Ints | None,
    unbiased: _bool = True,
    keepdim: _bool = False,
    *,
    out: Any = None,
) -> Tensor: ...
@overload
def std(
    input: Tensor,
    dim: _Ints | None = None,
    *,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def std(
    input: Tensor,
    *dim: _int,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def std_mean(input: Tensor, unbiased: _bool, *, out: Any = None) -> tuple[Tensor, ...]: ...
@overload
def std_mean(
    input: Tensor,
    dim: _Ints | None,
    unbiased: _bool = True,
    keepdim: _bool = False,
    *,
    out: Any = None,
) -> tuple[Tensor, ...]: ...
@overload
def std_mean(
    input: Tensor,
    dim: _Ints | None = None,
    *,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> tuple[Tensor, ...]: ...
@overload
def std_mean(
    input: Tensor,
    *dim: _int,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> tuple[Tensor, ...]: ...

strided: str

@overload
def sub(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def sub(
    input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1, out: Any = None
) -> Tensor: ...
@overload
def sub_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def sub_(input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1) -> Tensor: ...
@overload
def subtract(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
@overload
def subtract(
    input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1, out: Any = None
) -> Tensor: ...
@overload
def subtract_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def subtract_(
    input: Tensor | _Number, other: Tensor | _Number, *, alpha: _Number = 1
) -> Tensor: ...
def sum(
    input: Tensor,
    dim: _Ints | None = None,
    keepdim: _bool = False,
    *,
    dtype: _dtype | None = None,
    out: Any = None,
) -> Tensor: ...
def swapaxes(input: Tensor, axis0: _int, axis1: _int) -> Tensor: ...
def swapdims(input: Tensor, dim0: _int, dim1: _int) -> Tensor: ...
def t(input: Tensor) -> Tensor: ...
def t_(input: Tensor) -> Tensor: ...
def take(input: Tensor, index: Tensor, *, out: Any = None) -> Tensor: ...
def take_along_dim(
    input: Tensor, indices: Tensor, dim: _int | None = None, *, out: Any = None
) -> Tensor: ...
def tan(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def tan_(input: Tensor | _Number) -> Tensor: ...
def tanh(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def tanh_(input: Tensor | _Number) -> Tensor: ...
def tanhshrink(input: Tensor | _Number) -> Tensor: ...
@overload
def tensor_split(input: Tensor, indices_or_sections: _int, dim: _int = 0) -> tuple[Tensor, ...]: ...
@overload
def tensor_split(
    input: Tensor, indices_or_sections: _Ints, dim: _int = 0
) -> tuple[Tensor, ...]: ...
def threshold(
    input: Tensor | _Number,
    threshold: Tensor | _Number,
    value: Tensor | _Number,
    *,
    out: Any = None,
) -> Tensor: ...
def threshold_(
    input: Tensor | _Number, threshold: Tensor | _Number, value: Tensor | _Number
) -> Tensor: ...
def topk(
    input: Tensor,
    k: _int,
    dim: _int | None = None,
    largest: _bool = True,
    sorted: _bool = True,
    *,
    out: Any = None,
) -> Any: ...
def trace(input: Tensor) -> Tensor: ...
def transpose(input: Tensor, dim0: _int, dim1: _int) -> Tensor: ...
def transpose_(input: Tensor, dim0: _int, dim1: _int) -> Tensor: ...
def tril(input: Tensor, diagonal: _int = 0, *, out: Any = None) -> Tensor: ...
def tril_(input: Tensor, diagonal: _int = 0) -> Tensor: ...
def tril_indices(
    row: _int,
    col: _int,
    offset: _int = 0,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
) -> Tensor: ...
def triu(input: Tensor, diagonal: _int = 0, *, out: Any = None) -> Tensor: ...
def triu_(input: Tensor, diagonal: _int = 0) -> Tensor: ...
def triu_indices(
    row: _int,
    col: _int,
    offset: _int = 0,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
) -> Tensor: ...
def true_divide(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def true_divide_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
def trunc(input: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def trunc_(input: Tensor | _Number) -> Tensor: ...
def unbind(input: Tensor, dim: _int = 0) -> tuple[Tensor, ...]: ...
def unique(
    input: Tensor,
    sorted: _bool = True,
    return_inverse: _bool = False,
    return_counts: _bool = False,
    dim: _int | None = None,
) -> Any: ...
def unique_consecutive(
    input: Tensor,
    return_inverse: _bool = False,
    return_counts: _bool = False,
    dim: _int | None = None,
) -> Any: ...
def unsqueeze(input: Tensor, dim: _int) -> Tensor: ...
def unsqueeze_(input: Tensor, dim: _int) -> Tensor: ...
@overload
def var(input: Tensor, unbiased: _bool, *, out: Any = None) -> Tensor: ...
@overload
def var(
    input: Tensor,
    dim: _Ints | None,
    unbiased: _bool = True,
    keepdim: _bool = False,
    *,
    out: Any = None,
) -> Tensor: ...
@overload
def var(
    input: Tensor,
    dim: _Ints | None = None,
    *,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def var(
    input: Tensor,
    *dim: _int,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def var_mean(input: Tensor, unbiased: _bool, *, out: Any = None) -> tuple[Tensor, ...]: ...
@overload
def var_mean(
    input: Tensor,
    dim: _Ints | None,
    unbiased: _bool = True,
    keepdim: _bool = False,
    *,
    out: Any = None,
) -> tuple[Tensor, ...]: ...
@overload
def var_mean(
    input: Tensor,
    dim: _Ints | None = None,
    *,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> tuple[Tensor, ...]: ...
@overload
def var_mean(
    input: Tensor,
    *dim: _int,
    correction: _Number | None = 1,
    keepdim: _bool = False,
    out: Any = None,
) -> tuple[Tensor, ...]: ...
def vdot(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor: ...
def where(
    condition: Tensor | _Number,
    input: Tensor | _Number,
    other: Tensor | _Number,
    *,
    out: Any = None,
) -> Tensor: ...
def xlogy(input: Tensor | _Number, other: Tensor | _Number, *, out: Any = None) -> Tensor: ...
def xlogy_(input: Tensor | _Number, other: Tensor | _Number) -> Tensor: ...
@overload
def zeros(
    size: _Ints,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
@overload
def zeros(
    *size: _int,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    out: Any = None,
) -> Tensor: ...
def zeros_like(
    input: Tensor,
    *,
    dtype: _dtype | None = None,
    device: _Device | None = None,
    requires_grad: _bool = False,
    memory_format: _memory_format | None = None,
) -> Tensor: ...
