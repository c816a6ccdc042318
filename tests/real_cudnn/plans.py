"""Has cuDNN plan what the arguments name; prints how many plans were executed so far."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.nn import functional as F

Case = tuple[str, list[Tensor], Any]
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "digits": ((64, 1, 8, 8), (16, 1, 3, 3), {"padding": 1}),
    "residual": ((8, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    "strided": ((8, 64, 57, 57), (128, 64, 3, 3), {"stride": 2}),
    "odd": ((2, 3, 17, 19), (5, 3, 3, 2), {"padding": (1, 0), "dilation": 2}),
    "depthwise": ((2, 32, 28, 28), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "grouped": ((2, 8, 28, 28), (12, 4, 3, 3), {"groups": 2}),
    "one pixel": ((2, 64, 28, 28), (256, 64, 1, 1), {}),
    "three axes": ((2, 3, 8, 14, 14), (8, 3, 3, 3, 3), {"padding": 1}),
    "one axis": ((4, 16, 100), (32, 16, 5), {}),
}
# batch, heads, queries, keys, features, values
ATTENTIONS = [(2, 4, 128, 128, 64, 64), (1, 1, 1, 1, 8, 8), (2, 3, 5, 7, 16, 8)]
ATTENTIONS += [(1, 2, 64, 1024, 128, 128), (1, 2, 300, 300, 80, 80)]


def zeros(*shape: int, dtype: Any, order: Any = fl.contiguous_format) -> Tensor:
    return fl.zeros(*shape, dtype=dtype).contiguous(memory_format=order).to("cuda")


def convolutions(dtype: Any) -> Iterator[Case]:
    for name, (x, w, options) in CONVOLUTIONS.items():
        function = (F.conv1d, F.conv2d, F.conv3d)[len(x) - 3]

        def call(x: Tensor, w: Tensor, f: Any = function, options: Any = options) -> Tensor:
            return f(x, w, **options)

        orders = [fl.contiguous_format, fl.channels_last][: 2 if len(x) == 4 else 1]
        for order in orders:
            yield name, [zeros(*shape, dtype=dtype, order=order) for shape in (x, w)], call


def attentions(dtype: Any) -> Iterator[Case]:
    for sizes in ATTENTIONS:
        batch, heads, queries, keys, features, values = sizes
        for causal in (False, True):
            shapes = (queries, features), (keys, features), (keys, values)

            def call(q: Tensor, k: Tensor, v: Tensor, causal: bool = causal) -> Tensor:
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

            # Heads inside of rows, as models have them.
            yield (
                f"attention {sizes} {causal}",
                [zeros(batch, n, heads, e, dtype=dtype).transpose(1, 2) for n, e in shapes],
                call,
            )


def main() -> None:
    kind, dtype = sys.argv[1], getattr(fl, sys.argv[2])
    folder = os.environ["FLAMBEAU_CUDA_LIBRARIES"]
    cudnn = ctypes.CDLL(f"{folder}/libcudnn.so.9")
    fl.backends.cuda.enable_flash_sdp(False)
    fl.backends.cuda.enable_mem_efficient_sdp(False)
    for name, inputs, function in {"convolutions": convolutions, "attentions": attentions}[kind](
        dtype
    ):
        leaves = [x.requires_grad_() for x in inputs]
        out = function(*leaves)
        last = out.dim() == 4 and not out.is_contiguous()
        order = fl.channels_last if last else fl.contiguous_format
        gradients = fl.autograd.grad(out, leaves, zeros(*out.shape, dtype=dtype, order=order))
        assert [g.shape for g in gradients] == [x.shape for x in leaves]
        assert cudnn.real_cudnn_refusals() == 0, name
        print(name, cudnn.real_cudnn_executions())


if __name__ == "__main__":
    main()
