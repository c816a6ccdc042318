"""CUDA's switches; without a GPU they are kept and have no effect."""


class _Matmul:
    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Returns whether CUDA kernels are part of the package."""
    return False
