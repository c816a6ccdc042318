"""Copies, casts and fills with a GPU on either side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import DTYPES

import flambeau as fl
from flambeau import Tensor

random = np.random.default_rng(0)
VALUES = [0.0, 1.0, -1.0, 0.4, 2.6, -3.7, 100.0, 127.0, 128.0, 255.0, 256.0, -129.0, 40000.0, 7e4]
# Of floats only: what is out of range is the smallest integer, as on the CPU.
FLOATS = [*VALUES, 3e9, -3e9, 1e20, -1e20, float("inf"), float("-inf"), float("nan"), 1e-7]


def same(got: Tensor, expected: Tensor) -> bool:
    got = got.cpu()
    if not got.is_floating_point():
        return got.equal(expected)
    return bool(((got == expected) | (got.isnan() & expected.isnan())).all())


@pytest.mark.parametrize("source", DTYPES, ids=str)
def test_casts(source: Any) -> None:
    floating = source.is_floating_point
    x = fl.tensor(FLOATS if floating else [0.0, 1.0, -1.0, 100.0, 127.0, -128.0], dtype=fl.float64)
    x = x.to(source)
    for target in DTYPES:
        assert same(x.cuda().to(target), x.to(target)), target


def test_casts_of_many() -> None:
    x = fl.tensor(random.standard_normal(5000) * 1000)
    for source, target in [(fl.float32, fl.float16), (fl.float64, fl.bfloat16)]:
        assert same(x.to(source).cuda().to(target), x.to(source).to(target))
    bits = fl.tensor(np.arange(65536, dtype=np.uint16).view(np.int16))
    assert same(bits.view(fl.float16).cuda().float(), bits.view(fl.float16).float())
    assert same(bits.view(fl.bfloat16).cuda().float(), bits.view(fl.bfloat16).float())


VIEWS = {
    "all": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "inner": lambda x: x.transpose(1, 2),
    "outer": lambda x: x.transpose(0, 1),
    "strided": lambda x: x[::2, 1:, ::3],
    "one": lambda x: x[1, 2, 3],
    "empty": lambda x: x[:, :0],
    "expanded": lambda x: x[:, :1].expand(20, 33, 17),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", [fl.float32, fl.int8, fl.float64, fl.bfloat16])
def test_views(view: str, dtype: Any) -> None:
    x = (fl.arange(20 * 33 * 17) % 251 - 100).view(20, 33, 17).to(dtype)
    expected = VIEWS[view](x)
    gpu = VIEWS[view](x.cuda())
    assert same(gpu.contiguous(), expected) and same(gpu.clone(), expected)
    assert same(expected.cuda(), expected) and gpu.cpu().equal(expected)
    assert same(gpu.to(fl.float16), expected.to(fl.float16))
    if view not in ("expanded",):  # into views, from a tensor that lies otherwise
        for source in (expected + 1, (expected + 1).cuda(), (expected + 1).double()):
            target = x.cuda()
            VIEWS[view](target).copy_(source)
            wanted = x.clone()
            VIEWS[view](wanted).copy_(expected + 1)
            assert same(target, wanted)
            host = x.clone()
            VIEWS[view](host).copy_(source)
            assert host.equal(wanted)


def test_broadcast() -> None:
    x = fl.arange(12.0).view(3, 4)
    for source in (x[0], x[:, :1], fl.tensor(5.0)):
        for where in (source, source.cuda()):
            target = fl.zeros(3, 4).cuda()
            target.copy_(where)
            assert same(target, source.expand(3, 4))
            host = fl.zeros(3, 4)
            host.copy_(where)
            assert host.equal(source.expand(3, 4))
    with pytest.raises(RuntimeError, match="broadcast"):
        fl.zeros(3, 4).cuda().copy_(fl.zeros(5))


def test_bits_survive() -> None:
    bits = fl.tensor([0x7FC12345, 0x7F812345, -1, 0], dtype=fl.int32)
    x = bits.view(fl.float32)
    assert x.cuda()[::2].contiguous().view(fl.int32).cpu().equal(bits[::2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fill(dtype: Any) -> None:
    for value in (0, 1, -3, 2.5, True, 300):
        for view in (lambda x: x, lambda x: x[::2], lambda x: x[1:]):
            x, y = fl.ones(5, 3, dtype=dtype), fl.ones(5, 3, dtype=dtype).cuda()
            view(x).fill_(value)
            view(y).fill_(value)
            assert same(y, x), value
