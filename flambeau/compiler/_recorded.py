"""A recording with all that its replay depends on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.compiler._sources import Sources, take_sources
from flambeau.compiler._structure import take_apart
from flambeau.compiler._watch import Watch


class Result(NamedTuple):
    """What a function returned, as a replay makes it again."""

    spec: Hashable
    # By tensor: the number of an argument or output, or the tensor itself if it was there before.
    parts: list[tuple[str, Any]]


class Recorded(NamedTuple):
    """One recording with all that a replay depends on."""

    recording: Any
    tensors: list[Tensor]
    needs: list[bool]  # which of them require a gradient
    modes: tuple[Any, ...]
    watch: Watch
    sources: Sources
    result: Result
    # Of a function that is differentiated from outside: what the backward part's outputs are
    # gradients of, and for which outputs.
    leaves: list[int | Tensor]
    differentiable: list[int]
    used: list[int]


def modes() -> tuple[Any, ...]:
    """What operators depend on beside their arguments."""
    grad, inference = fl.is_grad_enabled(), fl.is_inference_mode_enabled()
    return grad, inference, fl.get_default_dtype(), _core.autocast_modes()


def finish(recording: Any, tensors: list[Tensor], watch: Watch, result: Any) -> Recorded:
    """End a recording; what is differentiable from outside gets its backward part."""
    outputs: list[Tensor] = []
    spec = take_apart(result, outputs)
    alive: list[int] = []
    used: list[int] = []
    parts: list[tuple[str, Any]] = []
    fresh: list[Tensor] = []
    before = {id(tensor): i for i, tensor in enumerate(tensors)}
    captured = {id(buffer[3]): buffer[3] for buffer in recording.buffers if buffer[0] == "captured"}
    for output in outputs:
        if id(output) in before:
            parts.append(("argument", before[id(output)]))
        elif id(output) in captured:
            parts.append(("object", output))
        else:
            parts.append(("output", len(fresh)))
            history = _core.history(output) if fl.is_grad_enabled() else "none"
            if history == "alive":
                alive.append(len(fresh))
            elif history == "used":
                used.append(len(fresh))
            fresh.append(output)
    leaves: list[int | Tensor] = []
    gradients: list[Tensor] = []
    if alive and recording.failure is None:
        leaves, gradients = _record_backward(recording, tensors, [fresh[i] for i in alive])
    recording.finish([*fresh, *gradients])
    sources = take_sources(recording)
    return Recorded(
        recording,
        tensors,
        [tensor.requires_grad for tensor in tensors],
        modes(),
        watch,
        sources,
        Result(spec, parts),
        leaves,
        alive,
        used,
    )


def _record_backward(
    recording: Any, tensors: list[Tensor], outputs: list[Tensor]
) -> tuple[list[int | Tensor], list[Tensor]]:
    """Record the gradients of the outputs, for incoming gradients of their shapes."""
    candidates: list[tuple[int | Tensor, Tensor]] = [
        (i, tensor) for i, tensor in enumerate(tensors) if tensor.requires_grad
    ]
    for kind, _, _, tensor, _ in recording.buffers:
        if kind == "captured" and tensor.requires_grad and tensor.is_leaf:
            candidates.append((tensor, tensor))
    tangents = [fl.ones_like(x) for x in outputs]
    recording.tangents(tangents)
    found = fl.autograd.grad(
        outputs, [x for _, x in candidates], tangents, retain_graph=True, allow_unused=True
    )
    pairs = [
        (leaf, gradient)
        for (leaf, _), gradient in zip(candidates, found, strict=True)
        if gradient is not None
    ]
    return [leaf for leaf, _ in pairs], [gradient for _, gradient in pairs]
