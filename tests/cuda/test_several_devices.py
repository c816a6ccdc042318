"""Two GPUs in one process (two emulated ones where there is none)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import flambeau as torch

SCRIPT = """
import flambeau as torch
from flambeau import nn

assert torch.cuda.device_count() >= 2
a = torch.arange(6.0).reshape(2, 3).to("cuda:0")
b = a.to("cuda:1")
assert b.device == torch.device("cuda:1") and (b * 2).tolist() == [[0, 2, 4], [6, 8, 10]]
assert b.t().contiguous().tolist() == [[0, 3], [1, 4], [2, 5]]
try:
    a + b
except RuntimeError as error:
    assert "cuda:0 and cuda:1" in str(error)
else:
    raise AssertionError("tensors of two devices were added")

with torch.cuda.device(1):
    assert torch.ones(3, device="cuda").device.index == 1
assert torch.ones(3, device="cuda").device.index == 0
target = torch.zeros(2, 3, device="cuda:0")
target.copy_(b)
assert target.sum().item() == 15

first, second = nn.Linear(3, 4).to("cuda:0"), nn.Linear(4, 1).to("cuda:1")
x = torch.randn(5, 3)
split = second(torch.tanh(first(x.to("cuda:0"))).to("cuda:1")).sum()
split.backward()
assert first.weight.grad.device.index == 0 and second.weight.grad.device.index == 1
whole = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
whole[0].load_state_dict(first.state_dict())
whole[2].load_state_dict(second.state_dict())
whole(x).sum().backward()
torch.testing.assert_close(first.weight.grad.cpu(), whole[0].weight.grad)

stream = torch.cuda.Stream(1)
with torch.cuda.stream(stream):
    assert torch.cuda.current_device() == 1
    y = b * 3
stream.synchronize()
assert y.sum().item() == 45

used = torch.ones(1000, device="cuda:0")
used.record_stream(stream)  # of the other GPU
del used
assert torch.ones(1000, device="cuda:0").sum().item() == 1000

double = torch.compile(lambda x: x * 2)
for device in ("cuda:0", "cuda:1") * 5:
    result = double(torch.ones(2, device=device))
    assert str(result.device) == device and result.tolist() == [2, 2]

for x in (a, b):
    y = torch.from_dlpack(x)
    assert y.device == x.device and y.data_ptr() == x.data_ptr()
    assert x.__dlpack_device__() == (2, x.device.index)
    with torch.cuda.stream(torch.cuda.Stream(x.device)):
        assert torch.from_dlpack(x.__dlpack__(stream=1)).sum().item() == 15
moved = torch.from_dlpack(b, device="cuda:0")
assert moved.device.index == 0 and (moved + a).sum().item() == 30
moved = torch.from_dlpack(a.__dlpack__(dl_device=(2, 1), stream=1))
assert moved.device.index == 1 and (moved + b).sum().item() == 30

class Array:
    __cuda_array_interface__ = b.__cuda_array_interface__

assert torch.as_tensor(Array()).device.index == 1

import os, tempfile
path = os.path.join(tempfile.mkdtemp(), "net.graph")
torch.compiler.StaticGraph(whole, torch.compiler.Input((5, 3))).save(path)
for device in ("cuda:1", "cuda:0"):
    graph = torch.compiler.load(path, device=device)
    for _ in range(5):
        x = torch.randn(5, 3)
        result = graph.run(x.to(device))
        assert str(result.device) == device
        torch.testing.assert_close(result.cpu(), whole(x).detach())

torch.manual_seed(1)
assert torch.rand(2, device="cuda:0").tolist() == torch.rand(2, device="cuda:1").tolist()
"""


def test_two_devices() -> None:
    emulated = torch.cuda.get_device_name().startswith("Emulated")
    if not emulated and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs, there is one")
    environment = {**os.environ, "EMULATED_CUDA_DEVICES": "2"}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=300)
