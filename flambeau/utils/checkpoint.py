"""Less memory for more time: parts of a network that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau.autograd._recompute import CheckpointError as CheckpointError
from flambeau.autograd._recompute import recomputed

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Call `function` without keeping its intermediate results; the backward pass calls it again.

    Gradients reach the arguments and everything else that the function uses, of any order.

    Args:
        function: gives tensors, which may be nested.
        *args, **kwargs: its arguments.
        use_reentrant: accepted for PyTorch's sake; there is one implementation.
        preserve_rng_state: dropout draws the same numbers the second time.

    Returns:
        What the function returned.

    Raises:
        CheckpointError: in the backward pass, if the second call gives other shapes or dtypes.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> torch.utils.checkpoint.checkpoint(lambda x: (x * x).exp(), x).sum().backward()
        >>> x.grad
        tensor([5.4366, 5.4366])
    """
    for name in ("context_fn", "determinism_check", "debug", "early_stop"):
        kwargs.pop(name, None)
    return recomputed(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(
    functions: fl.nn.Sequential | Sequence[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """Run functions one after the other in `segments` checkpointed parts of equal length.

    The last part keeps its intermediate results, because its backward pass comes at once.

    Args:
        functions: a Sequential or a list of modules or functions.
        segments: number of parts.
        input: what the first function gets.
        use_reentrant: accepted for PyTorch's sake.
        preserve_rng_state: dropout draws the same numbers the second time.
    """
    steps = list(functions)
    length = len(steps) // segments

    def part(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in steps[start:end]:
                x = step(x)
            return x

        return run

    for i in range(segments - 1):
        step = part(i * length, (i + 1) * length)
        input = recomputed(step, (input,), preserve_rng_state=preserve_rng_state)
    return part(length * (segments - 1), len(steps))(input)
