"""Trees of tensors: tuples, named tuples, lists, dictionaries and None, nested in any way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flambeau import Tensor

LEAF = "leaf"
Structure = Any  # LEAF, None, or (type, keys or None, structures of the children)


def flatten(tree: Any, leaves: list[Any]) -> Structure:
    """Append the leaves of `tree` to `leaves`; returns its structure, to be compared by ==.

    Everything that is no container is a leaf. Dictionaries are in the order of their keys.
    """
    if tree is None:
        return None
    if isinstance(tree, (tuple, list)):
        return (type(tree), None, tuple([flatten(child, leaves) for child in tree]))
    if isinstance(tree, dict):
        keys = tuple(sorted(tree, key=str))
        return (type(tree), keys, tuple([flatten(tree[key], leaves) for key in keys]))
    leaves.append(tree)
    return LEAF


def rebuild(structure: Structure, leaves: Iterator[Any]) -> Any:
    """The tree of this structure with the next leaves."""
    if structure is LEAF:
        return next(leaves)
    if structure is None:
        return None
    kind, keys, children = structure
    values = [rebuild(child, leaves) for child in children]
    if keys is not None:
        return kind(zip(keys, values, strict=True))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


def leaf_names(structure: Structure, name: str) -> Iterator[str]:
    """How a user would write each leaf: `name[0]['hidden']`."""
    if structure is LEAF:
        yield name
    elif structure is not None:
        _, keys, children = structure
        for i, child in enumerate(children):
            yield from leaf_names(child, f"{name}[{i if keys is None else keys[i]!r}]")


def describe(structure: Structure) -> str:
    """A structure as text, with * for leaves: "(*, {'h': *})"."""
    if structure is LEAF:
        return "*"
    if structure is None:
        return "None"
    kind, keys, children = structure
    parts = [describe(child) for child in children]
    if keys is not None:
        return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(keys, parts, strict=True)) + "}"
    if kind is list:
        return "[" + ", ".join(parts) + "]"
    name = kind.__name__ if kind is not tuple else ""
    return f"{name}({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def type_and_shape(leaf: Any) -> str:
    """A tensor as error messages show it."""
    if not isinstance(leaf, Tensor):
        return f"{type(leaf).__name__} {leaf!r:.40}"
    return f"{leaf.dtype} of shape {list(leaf.shape)}"


class Tensors:
    """A tree of tensors taken apart, to which others are compared.

    Args:
        tree: the tree.
        name: what error messages call it, "scan: init".

    Raises:
        TypeError: a leaf is no tensor.
    """

    def __init__(self, tree: Any, name: str) -> None:
        self.name = name
        self.leaves: list[Tensor] = []
        self.structure = flatten(tree, self.leaves)
        for leaf, place in zip(self.leaves, leaf_names(self.structure, name), strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"{place}: a Tensor is required, got {type_and_shape(leaf)}; "
                    "write torch.tensor(...) around it"
                )

        self.kinds = [(leaf.shape, leaf.dtype) for leaf in self.leaves]

    def rebuild(self, leaves: Sequence[Tensor]) -> Any:
        """A tree of this structure with other leaves."""
        return leaves[0] if self.structure is LEAF else rebuild(self.structure, iter(leaves))

    def same(self, tree: Any, name: str) -> list[Tensor]:
        """The leaves of a tree that must agree in structure, shapes and dtypes.

        Raises:
            RuntimeError: it does not.
            TypeError: a leaf is no tensor.
        """
        leaves: list[Tensor] = []
        if self.structure is LEAF and isinstance(tree, Tensor):
            leaves.append(tree)
        elif flatten(tree, leaves) != self.structure:
            other = Tensors(tree, name)
            raise RuntimeError(
                f"{name}: the structure of {self.name} is required, {describe(self.structure)}, "
                f"got {describe(other.structure)}; return the same containers"
            )
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                Tensors(tree, name)
            shape, dtype = self.kinds[i]
            if leaf.shape != shape or leaf.dtype is not dtype:
                place = list(leaf_names(self.structure, name))[i]
                raise RuntimeError(
                    f"{place}: {dtype} of shape {list(shape)} is required as in {self.name}, "
                    f"got {type_and_shape(leaf)}; shapes and dtypes must not change"
                )
        return leaves
