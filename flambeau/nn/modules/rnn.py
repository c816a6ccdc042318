"""Recurrent layers: RNN, LSTM and GRU, and their cells.

One step of each kind is one function below; layers, directions and masks are written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flambeau as fl
from flambeau import Tensor
from flambeau._core import recording
from flambeau.ops._records import pointwise

from .. import functional as F
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence, pack_like, pad_packed_sequence
from .module import Module

Number = Any  # what a formula of one element is made of
State = tuple[Tensor, ...]  # (h,) or, for LSTM, (h, c)
Step = Callable[[Tensor, Tensor, State], State]

# A step takes the two linear maps x = W x_t + b and h = U h_{t-1} + b', and the state.


@pointwise
def _tanh_of_sum(x: Number, h: Number) -> Number:
    return fl.tanh(x + h)


@pointwise
def _relu_of_sum(x: Number, h: Number) -> Number:
    return fl.relu(x + h)


@pointwise
def _lstm_memory(i: Number, f: Number, g: Number, c: Number) -> Number:
    return fl.sigmoid(f) * c + fl.sigmoid(i) * fl.tanh(g)


@pointwise
def _lstm_output(o: Number, c: Number) -> Number:
    return fl.sigmoid(o) * fl.tanh(c)


@pointwise
def _gru_output(
    x_r: Number, x_z: Number, x_n: Number, h_r: Number, h_z: Number, h_n: Number, h: Number
) -> Number:
    reset, update = fl.sigmoid(x_r + h_r), fl.sigmoid(x_z + h_z)
    new = fl.tanh(x_n + reset * h_n)
    return new + update * (h - new)


def rnn_tanh_step(x: Tensor, h: Tensor, state: State) -> State:
    """h' = tanh(x + h) (Elman, 1990)."""
    return (_tanh_of_sum(x, h),)


def rnn_relu_step(x: Tensor, h: Tensor, state: State) -> State:
    """h' = relu(x + h)."""
    return (_relu_of_sum(x, h),)


def lstm_step(x: Tensor, h: Tensor, state: State) -> State:
    """c' = f c + i g, h' = o tanh(c') (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)."""
    i, f, g, o = (x + h).chunk(4, -1)
    c = _lstm_memory(i, f, g, state[1])
    return _lstm_output(o, c), c


def gru_step(x: Tensor, h: Tensor, state: State) -> State:
    """h' = (1 - z) n + z h with n = tanh(x_n + r h_n) (Cho et al., 2014)."""
    return (_gru_output(*x.chunk(3, -1), *h.chunk(3, -1), state[0]),)


# mode: the step, and how many linear maps of hidden_size it needs
_MODES: dict[str, tuple[Step, int]] = {
    "RNN_TANH": (rnn_tanh_step, 1),
    "RNN_RELU": (rnn_relu_step, 1),
    "LSTM": (lstm_step, 4),
    "GRU": (gru_step, 3),
}


def _run_direction(
    step: Step,
    input: Tensor,
    state: State,
    weights: Sequence[Tensor | None],
    is_reverse: bool,
    is_live: Tensor | None,
) -> tuple[Tensor, State]:
    """One layer in one direction.

    Args:
        input: (L, N, features).
        weights: W_ih, W_hh, b_ih, b_hh and the projection W_hr, or None each.
        is_live: (L, N, 1), False past the end of a sequence, where the state stays; or None.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    mapped = F.linear(input, w_ih, b_ih)
    if mapped.dtype != input.dtype:  # autocast: the state takes part in its type
        state = tuple(part.to(mapped.dtype) for part in state)

    def advance(state: State, x: tuple[Tensor, Tensor | None]) -> tuple[State, Tensor]:
        mapped, is_live = x
        new = step(mapped, F.linear(state[0], w_hh, b_hh), state)
        if w_hr is not None:
            new = (F.linear(new[0], w_hr), *new[1:])
        if is_live is not None:
            new = tuple(fl.where(is_live, n, old) for n, old in zip(new, state, strict=True))
        return new, new[0]

    if recording() is not None:  # one step of the graph, however long the sequence is
        state, stacked = fl.scan(advance, state, (mapped, is_live), reverse=is_reverse)
        return stacked, state
    slices = mapped.unbind(0)
    outputs: list[Any] = [None] * input.shape[0]
    order = range(input.shape[0])
    for t in reversed(order) if is_reverse else order:
        live = None if is_live is None else is_live[t]
        state, outputs[t] = advance(state, (slices[t], live))
    return fl.stack(outputs), state


class RNNBase(Module):
    """Layers of a recurrent network in one or two directions.

    Args:
        mode: RNN_TANH, RNN_RELU, LSTM or GRU.
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: layers, each fed by the one before.
        bias: learn biases.
        batch_first: input and output are (N, L, features) instead of (L, N, features).
        dropout: probability of dropping between layers.
        bidirectional: also run from the end; outputs are concatenated.
        proj_size: LSTM: project h to so many features.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_rnn_arguments(mode, hidden_size, num_layers, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        step, maps = _MODES[mode]
        self._step = step
        output_size = proj_size or hidden_size
        gates = maps * hidden_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            features = input_size if layer == 0 else output_size * directions
            for direction in range(directions):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, features),
                    "weight_hh": (gates, output_size),
                }
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    value = Parameter(fl.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name + _suffix(layer, direction), value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything from U(-b, b), b = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing; the weights need no particular layout."""

    def _weights(self, layer: int, direction: int) -> list[Tensor | None]:
        suffix = _suffix(layer, direction)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [self.__dict__.get(name + suffix) for name in names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights of every layer and direction."""
        directions = 2 if self.bidirectional else 1
        return [
            [weight for weight in self._weights(layer, direction) if weight is not None]
            for layer in range(self.num_layers)
            for direction in range(directions)
        ]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self.mode}: a 2-D or 3-D input is required, got {input.dim()}-D")
        is_single = input.dim() == 2
        sequence = input.unsqueeze(1) if is_single else input
        if self.batch_first and not is_single:
            sequence = sequence.transpose(0, 1)
        state = self._as_state(hx, sequence, is_single)
        out, last = self._run_layers(sequence, state, None)
        if is_single:
            out, last = out.squeeze(1), tuple(s.squeeze(1) for s in last)
        elif self.batch_first:
            out = out.transpose(0, 1)
        return out, last if len(last) > 1 else last[0]

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        in_order = PackedSequence(packed.data, packed.batch_sizes)
        padded, lengths = pad_packed_sequence(in_order)
        places = fl.arange(padded.shape[0]).unsqueeze(1)
        is_live = (places < lengths).unsqueeze(-1).to(padded.device)
        state = self._as_state(hx, padded, False)
        if hx is not None and packed.sorted_indices is not None:
            state = tuple(s.index_select(1, packed.sorted_indices) for s in state)
        out, last = self._run_layers(padded, state, is_live)
        if packed.unsorted_indices is not None:
            last = tuple(s.index_select(1, packed.unsorted_indices) for s in last)
        return pack_like(out, packed), last if len(last) > 1 else last[0]

    def _as_state(self, hx: Any, input: Tensor, is_single: bool) -> State:
        """The first state as a tuple of (layers * directions, N, features), zeros by default."""
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{self.mode}: input.size(-1) must be equal to input_size, "
                f"expected {self.input_size}, got {input.shape[-1]}"
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size]
        if self.mode == "LSTM":
            sizes.append(self.hidden_size)
        batch = input.shape[1]
        if hx is None:
            return tuple(input.new_zeros(rows, batch, size) for size in sizes)
        state = tuple(hx) if self.mode == "LSTM" else (hx,)
        if is_single:
            state = tuple(s.unsqueeze(1) for s in state)
        for value, size in zip(state, sizes, strict=True):
            if tuple(value.shape) != (rows, batch, size):
                raise RuntimeError(
                    f"{self.mode}: Expected hidden size {(rows, batch, size)}, "
                    f"got {tuple(value.shape)}"
                )
        return state

    def _run_layers(
        self, input: Tensor, state: State, is_live: Tensor | None
    ) -> tuple[Tensor, State]:
        directions = 2 if self.bidirectional else 1
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                row = layer * directions + direction
                out, end = _run_direction(
                    self._step,
                    input,
                    tuple(s[row] for s in state),
                    self._weights(layer, direction),
                    direction == 1,
                    is_live,
                )
                outputs.append(out)
                last.append(end)
            input = outputs[0] if directions == 1 else fl.cat(outputs, -1)
            if self.dropout > 0 and layer < self.num_layers - 1:
                input = F.dropout(input, self.dropout, self.training)
        return input, tuple(fl.stack(parts) for parts in zip(*last, strict=True))

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")


def _check_rnn_arguments(
    mode: str, hidden_size: int, num_layers: int, dropout: Any, proj_size: int
) -> None:
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"{mode}: dropout must be a number between 0 and 1, got {dropout!r}")
    if not isinstance(hidden_size, int):
        raise TypeError(f"{mode}: hidden_size must be an int, got {type(hidden_size).__name__}")
    if hidden_size <= 0 or num_layers <= 0:
        raise ValueError(
            f"{mode}: hidden_size and num_layers must be greater than zero, "
            f"got {hidden_size} and {num_layers}"
        )
    if proj_size < 0 or proj_size >= hidden_size:
        raise ValueError(f"{mode}: proj_size must be in [0, hidden_size), got {proj_size}")
    if proj_size and mode != "LSTM":
        raise ValueError(f"{mode}: only LSTM has proj_size")


class RNN(RNNBase):
    """h_t = tanh(W x_t + b + U h_{t-1} + b') (Elman, 1990).

    Args:
        input_size, hidden_size, num_layers: sizes, as in RNNBase.
        nonlinearity: "tanh" or "relu".
        bias, batch_first, dropout, bidirectional: as in RNNBase.

    Returns:
        From forward(input, h_0=zeros): the outputs of the last layer, and the last h
        (layers * directions, N, hidden_size).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        mode = f"RNN_{nonlinearity.upper()}"
        if mode not in _MODES:
            raise ValueError(f"RNN: nonlinearity must be tanh or relu, got {nonlinearity!r}")
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t) (Hochreiter and Schmidhuber, 1997).

    Arguments as in RNNBase, without mode.

    Returns:
        From forward(input, (h_0, c_0)=zeros): the outputs of the last layer, and (h, c).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """h_t = (1 - z) n + z h_{t-1} (Cho et al., 2014).

    Arguments as in RNNBase, without mode and proj_size.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("GRU: only LSTM has proj_size")
        super().__init__("GRU", *args, **kwargs)


# --- cells ----------------------------------------------------------------------------------


class RNNCellBase(Module):
    """One step of a recurrent network.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: learn biases.
    """

    mode: ClassVar[str]

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = _MODES[self.mode][1] * hidden_size
        shapes = {
            "weight_ih": (gates, input_size),
            "weight_hh": (gates, hidden_size),
            "bias_ih": (gates,) if bias else None,
            "bias_hh": (gates,) if bias else None,
        }
        for name, shape in shapes.items():
            value = None
            if shape is not None:
                value = Parameter(fl.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything from U(-b, b), b = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _advance(self, step: Step, input: Tensor, state: State | None) -> State:
        if input.dim() not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: a 1-D or 2-D input is required, got {input.dim()}-D"
            )
        if state is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            state = (zeros, zeros)
        x = F.linear(input, self.weight_ih, self.bias_ih)
        return step(x, F.linear(state[0], self.weight_hh, self.bias_hh), state)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias={self.bias}"


class RNNCell(RNNCellBase):
    """h' = tanh(W x + b + U h + b'), or relu instead of tanh."""

    mode = "RNN_TANH"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        mode = f"RNN_{self.nonlinearity.upper()}"
        if mode not in _MODES:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}; use tanh or relu")
        return self._advance(_MODES[mode][0], input, None if hx is None else (hx,))[0]

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(RNNCellBase):
    """One step of an LSTM: (h', c') from an input and (h, c)."""

    mode = "LSTM"

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        return self._advance(lstm_step, input, hx)


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    mode = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(gru_step, input, None if hx is None else (hx,))[0]
