"""PyTorch's CUDA generator in NumPy, written from its published algorithm: what tests compare with.

Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import flambeau as torch

BLOCK = 256
SEED = 1234567890123456789


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random words for each row of four counter words, both (n, 4) uint32."""
    a, b, c, d = (counter[:, i].astype(np.uint64) for i in range(4))
    low_half, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, c = (second >> shift) ^ b ^ np.uint64(k0), (first >> shift) ^ d ^ np.uint64(k1)
        b, d = second & low_half, first & low_half
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def words(seed: int, offset: int, threads: np.ndarray, calls: np.ndarray) -> np.ndarray:
    """(n, 4) words: those of a thread's stream in its `calls`-th group of four."""
    blocks = np.asarray(calls, dtype=np.uint64) + np.uint64(offset // 4)
    threads = np.asarray(threads, dtype=np.uint64)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    counter = np.stack([blocks & mask, blocks >> half, threads & mask, threads >> half], axis=1)
    return philox(counter.astype(np.uint32), (seed % 2**32, seed // 2**32))


def unit_floats(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)).astype(np.float32)


def unit_doubles(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    bits = low.astype(np.uint64) ^ (high.astype(np.uint64) << np.uint64(21))
    return bits.astype(np.float64) * 2.0**-53 + 2.0**-54


def normal_floats(bits: np.ndarray) -> np.ndarray:
    """In double where the GPU is in single precision: right to some units of 1e-7."""
    pairs = bits.reshape(-1, 2).astype(np.float64)
    radius = np.sqrt(-2 * np.log(unit_floats(bits.reshape(-1, 2)[:, 0]).astype(np.float64)))
    angle = 2 * np.pi * (pairs[:, 1] + 0.5) * 2.0**-32
    result = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    return result.reshape(bits.shape)


def normal_doubles(bits: np.ndarray) -> np.ndarray:
    radius = np.sqrt(-2 * np.log(unit_doubles(bits[:, 0], bits[:, 1])))
    angle = 2 * np.pi * unit_doubles(bits[:, 2], bits[:, 3])
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def uniform_doubles(bits: np.ndarray) -> np.ndarray:
    return np.stack(
        [unit_doubles(bits[:, 0], bits[:, 1]), unit_doubles(bits[:, 2], bits[:, 3])], axis=1
    )


def whole_words(bits: np.ndarray) -> np.ndarray:
    """Two whole numbers of 64 bits from four of 32, the higher half first."""
    wide = bits.astype(np.uint64)
    return (wide[:, ::2] << np.uint64(32)) | wide[:, 1::2]


class Model:
    """A generator on a GPU of so many multiprocessors."""

    def __init__(self, seed: int, multiprocessors: int, threads_each: int = 2048) -> None:
        self.seed, self.offset = seed, 0
        self.most_blocks = multiprocessors * (threads_each // BLOCK)

    def blocks(self, count: int) -> int:
        return min(self.most_blocks, -(-count // BLOCK))

    def take(self, count: int, lanes: int) -> int:
        """The offset of a kernel for `count` elements."""
        before = self.offset
        self.offset += ((count - 1) // (BLOCK * self.blocks(count) * lanes) + 1) * 4
        return before

    def over_grid(
        self, count: int, lanes: int, transform: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Elements whose lanes are a whole grid apart; transform: (n, 4) words to (n, lanes)."""
        offset = self.take(count, lanes)
        stride = BLOCK * self.blocks(count)
        place = np.arange(count)
        group, lane = place // (stride * lanes), place // stride % lanes
        drawn = transform(words(self.seed, offset, place % stride, group))
        return drawn[place, lane]

    def side_by_side(self, count: int, lanes: int) -> np.ndarray:
        """Uniform floats, `lanes` neighbours for each thread: dropout's order."""
        offset = self.take(count, 4)
        stride = BLOCK * self.blocks(count) * lanes
        place = np.arange(count)
        thread, round_, lane = place % stride // lanes, place // stride, place % lanes
        calls = round_ * max(lanes // 4, 1) + lane // 4
        drawn = words(self.seed, offset, thread, calls)
        return unit_floats(drawn)[place, lane % 4]

    def uniform(self, count: int) -> np.ndarray:
        return self.over_grid(count, 4, unit_floats)

    def normal(self, count: int) -> np.ndarray:
        return self.over_grid(count, 4, normal_floats)


def model(seed: int = SEED) -> Model:
    """A model of the GPU that is there; both are seeded."""
    gpu = torch.cuda.get_device_properties(0)
    torch.manual_seed(seed)
    return Model(seed, gpu.multi_processor_count, gpu.max_threads_per_multi_processor)
