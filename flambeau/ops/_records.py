"""Records of elementwise operators: a formula, its documentation, and what tests need to know.

A formula is a Python function of numbers. It is traced once, by calling it with symbols; the core
then runs it for every element, derives its gradient, and makes the function, the method, the
in-place form and `out=` from the record. Parameters without a default are operands (tensors or
numbers); those with a default, or after `*`, are numbers that may change from call to call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from flambeau import _core

Formula = TypeVar("Formula", bound=Callable[..., Any])

# Where an operator appears; the values are those of Form in core/ops/registry.h.
FUNCTION, METHOD, IN_PLACE, OUT, FUNCTIONAL, PRIVATE = 1, 2, 4, 8, 16, 32
USUAL = FUNCTION | METHOD | OUT
EVERYWHERE = USUAL | IN_PLACE


class Record(NamedTuple):
    """What is known about one elementwise operator."""

    name: str
    formula: Callable[..., Any]
    promotion: str  # common, floating, compare, compare_floating, integral, first
    operands: int  # how many of the parameters may be tensors
    signature: str
    domain: tuple[float, float]  # where tests draw their samples
    forms: int
    program: Any


registry: dict[str, list[Record]] = {}


class _Scalar:
    """The instructions as functions of symbols: scalar.exp(x)."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"there is no instruction named '{name}'; there are: "
            + ", ".join(sorted(_core.program.instructions))
        )


scalar: Any = _Scalar()
scalar.__dict__.update(_core.program.instructions)


def describe(formula: Callable[..., Any]) -> tuple[int, int, str]:
    """Returns the numbers of operands and parameters of a formula, and its signature as text."""
    code = formula.__code__
    positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    if code.co_flags & 0x0C:
        raise TypeError(
            f"{formula.__name__}: a formula has named parameters only, without *args or **kwargs"
        )
    defaults = formula.__defaults__ or ()
    operands = positional - len(defaults)
    pieces = list(code.co_varnames[:operands])
    pieces += [
        f"{n}={d!r}" for n, d in zip(code.co_varnames[operands:positional], defaults, strict=True)
    ]
    if total > positional:
        pieces.append("*")
        named = formula.__kwdefaults__ or {}
        for name in code.co_varnames[positional:total]:
            pieces.append(f"{name}={named[name]!r}" if name in named else name)
    return operands, total - operands, ", ".join(pieces)


def trace(formula: Callable[..., Any], operands: int, parameters: int) -> Any:
    """Returns the program of a formula."""
    extents = "e" * operands + "u" * parameters
    code = formula.__code__
    if not code.co_kwonlyargcount:
        return _core.program.trace(formula, extents)
    count = code.co_argcount
    names = code.co_varnames[count : count + code.co_kwonlyargcount]

    def with_names(*symbols: Any) -> Any:
        return formula(*symbols[:count], **dict(zip(names, symbols[count:], strict=True)))

    return _core.program.trace(with_names, extents)


def _trace_derivative(derivative: Callable[..., Any] | None, operands: int, parameters: int) -> Any:
    # Its parameters: those of the formula, then the result, then the incoming gradient.
    if derivative is None:
        return None
    return _core.program.trace(derivative, "e" * operands + "u" * parameters + "ee")


def elementwise(
    *,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    promotion: str = "floating",
    forms: int = EVERYWHERE,
    derivative: Callable[..., Any] | None = None,
    grad_name: str = "",
    conditions: int = 0,
    refuses_bool: str = "",
    autocast: str = "",
    domain: tuple[float, float] = (-3.0, 3.0),
) -> Callable[[Formula], Formula]:
    """Register a formula as a public operator.

    Args:
        name: public name; by default that of the function.
        aliases: further public names.
        promotion: type of the result: "common" (as add), "floating" (integers become floats, as
            sin), "compare" (bool), "compare_floating" (bool, computed in floats), "integral" (no
            floats), "first" (that of the first tensor).
        forms: where it appears, a sum of FUNCTION, METHOD, IN_PLACE, OUT, FUNCTIONAL.
        derivative: own formula for the gradients, of the parameters, the result and the incoming
            gradient; without it the derivative is derived.
        grad_name: what `grad_fn` shows, by default NameBackward0.
        conditions: bit i set: operand i has no say in the type of the result.
        refuses_bool: set if bool tensors are refused: what to do instead.
        autocast: what torch.autocast does to the operands: "lower" (cast to its dtype), "float32",
            "promote", alone or for one type of device: "float32 on cuda".
        domain: interval from which tests draw operands.

    Returns:
        A decorator that returns the operator, which other formulas may call.

    Example (a name can only be registered once, so this one is not run):
        @elementwise()
        def mish(input):
            return input * tanh(softplus(input))
    """

    def register(formula: Formula) -> Formula:
        public = name or formula.__name__
        operands, parameters, signature = describe(formula)
        program = trace(formula, operands, parameters)
        for each in (public, *aliases):
            record = Record(each, formula, promotion, operands, signature, domain, forms, program)
            registry.setdefault(each, []).append(record)
            _core.program.register(
                {
                    "name": each,
                    "signature": signature,
                    "doc": formula.__doc__ or "",
                    "promotion": promotion,
                    "grad_name": grad_name or _camel_case(public) + "Backward0",
                    "program": program,
                    "derivative": _trace_derivative(derivative, operands, parameters),
                    "operand_count": operands,
                    "not_promoting": conditions,
                    "forms": forms,
                    "bool_refusal": refuses_bool,
                    "autocast": autocast,
                }
            )
        space = _core.private if forms & PRIVATE else _core.functions
        return cast(Formula, space[public])

    return register


def _camel_case(name: str) -> str:
    # As PyTorch: log1p becomes Log1P.
    pieces, start = [], True
    for letter in name.strip("_"):
        pieces.append(letter.upper() if start else letter)
        start = letter == "_" or letter.isdigit()
    return "".join(pieces).replace("_", "")


def pointwise(
    formula: Callable[..., Any] | None = None, *, derivative: Callable[..., Any] | None = None
) -> Any:
    """Make a differentiable, fused operator of your own from a formula of numbers.

    The formula is traced once, then runs for every element of its operands, which broadcast and
    promote as in `+`. Its gradient is derived. Inside, use arithmetic, comparisons and flambeau's
    elementwise functions; write `where(condition, a, b)` for `if`.

    Args:
        formula: a function of numbers. Parameters without a default are operands: tensors or
            numbers. Those with a default, or after `*`, are numbers.
        derivative: a formula of the parameters, the result and the incoming gradient that returns
            the gradients of the operands; for functions whose derived gradient is not the wanted
            one.

    Returns:
        A function of tensors.

    Raises:
        TypeError: the formula asks for a symbol's value (`if x > 0`, `float(x)`).

    Example:
        >>> @flambeau.pointwise
        ... def swish(x, beta=1.0):
        ...     return x * flambeau.sigmoid(beta * x)
        >>> swish(flambeau.tensor([0.0, 1.0]), beta=2.0)
        tensor([0.0000, 0.8808])
    """
    if formula is None:
        return lambda given: pointwise(given, derivative=derivative)
    operands, parameters, signature = describe(formula)
    return _core.program.make(
        {
            "name": formula.__name__,
            "signature": signature,
            "doc": formula.__doc__ or "",
            "promotion": "common",
            "grad_name": _camel_case(formula.__name__) + "Backward0",
            "program": trace(formula, operands, parameters),
            "derivative": _trace_derivative(derivative, operands, parameters),
            "operand_count": operands,
            "not_promoting": 0,
            "forms": OUT,
            "bool_refusal": "",
            "autocast": "",
        }
    )
