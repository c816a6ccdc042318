"""What torch.cuda and its neighbours do on a machine without a GPU: nothing, or a clear error."""

import os
import subprocess
import sys

import pytest

# Other tests of this process may use an emulated GPU, so each of these has a process of its own.
ZEROS = """
    torch.cuda.device_count() torch.accelerator.device_count() torch.cuda.memory_allocated()
    torch.cuda.max_memory_allocated('cuda:0') torch.cuda.memory_reserved()
    torch.cuda.max_memory_reserved(0) len(torch.cuda.memory_stats()) len(torch.cuda.get_arch_list())
    len(torch.cuda.get_rng_state_all()) torch.cuda.is_available() torch.cuda.is_initialized()
    torch.accelerator.is_available() torch.cuda.is_bf16_supported() torch.cuda.is_tf32_supported()
    torch.backends.cudnn.is_available() torch.cuda.is_current_stream_capturing()
    torch.ones(2).is_pinned() torch.is_autocast_enabled()
"""
NOTHING = """
    torch.cuda.manual_seed(1); torch.cuda.manual_seed_all(1); torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(); torch.cuda.seed(); torch.cuda.nvtx.range_push("x")
    torch.cuda.nvtx.range_pop(); torch.cuda.nvtx.mark("x"); torch.cuda.set_device(-1)
    torch.cuda.device(0); torch.cuda.stream(None).__enter__(); torch.cuda.Event()
    torch.cuda.device_of(torch.ones(2)).__enter__(); torch.cuda.memory_summary()
"""
RAISES = """
    torch.cuda.current_device(); torch.cuda.set_device(0); torch.cuda.synchronize()
    torch.cuda.init(); torch.cuda.Stream(); torch.cuda.current_stream(); torch.cuda.CUDAGraph()
    torch.cuda.default_stream(); torch.cuda.get_device_name(); torch.cuda.get_device_capability()
    torch.cuda.get_device_properties(0); torch.cuda.mem_get_info(); torch.cuda.get_rng_state()
    torch.cuda.can_device_access_peer(0, 1); torch.cuda.Event().record()
    torch.cuda.device(0).__enter__(); torch.cuda.set_per_process_memory_fraction(0.5)
    torch.accelerator.synchronize(); torch.accelerator.current_device_index()
    torch.accelerator.memory_allocated(); torch.accelerator.set_device_index(0)
    torch.ones(2).cuda(); torch.ones(2).to("cuda"); torch.ones(2, device="cuda:1")
    torch.ones(2).pin_memory(); torch.empty(2, pin_memory=True); torch.tensor([1.0], device="cuda")
    torch.tensor([1.0], pin_memory=True); torch.nn.Linear(2, 2).cuda()
    torch.cuda.ExternalStream(1); torch.cuda.caching_allocator_alloc(8)
    torch.from_dlpack(torch.ones(2), device="cuda"); torch.ones(2).__dlpack__(dl_device=(2, 0))
    torch.compiler.StaticGraph(lambda x: x, torch.compiler.Input((2,)), device="cuda")
"""

pytestmark = pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU")


def run(code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "FLAMBEAU_CUDA_LIBRARIES"}
    command = [sys.executable, "-W", "error", "-c", "import flambeau as torch\n" + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_counts_are_zero() -> None:
    calls = ZEROS.split()
    code = "\n".join(f"assert {call} == 0, {call!r}" for call in calls)
    run(code + "\nassert torch.version.cuda is torch.backends.cudnn.version() is None")
    run("assert torch.accelerator.current_accelerator() is None")


def test_what_does_nothing() -> None:
    run("\n".join(line.strip() for line in NOTHING.splitlines()))


def test_what_needs_a_gpu_says_so() -> None:
    calls = [call.strip() for line in RAISES.splitlines() for call in line.split(";")]
    code = f"""
for call in {[call for call in calls if call]!r}:
    try:
        eval(call)
    except RuntimeError as error:
        text = str(error)
        assert "no NVIDIA driver" in text and "flambeau doctor" in text, (call, text)
    else:
        raise AssertionError(call)
"""
    run(code)


def test_switches_are_kept() -> None:
    run("""
assert torch.backends.cuda.is_built() and torch.get_float32_matmul_precision() == "highest"
torch.set_float32_matmul_precision("high")
assert torch.backends.cuda.matmul.allow_tf32
assert torch.get_float32_matmul_precision() == "high"
torch.backends.cuda.matmul.allow_tf32 = False
assert torch.get_float32_matmul_precision() == "highest"
cudnn = torch.backends.cudnn
assert cudnn.enabled and not cudnn.benchmark and not cudnn.deterministic and cudnn.allow_tf32
cudnn.benchmark = True
with cudnn.flags(enabled=False, deterministic=True):
    assert not cudnn.enabled and not cudnn.benchmark and cudnn.deterministic
assert cudnn.enabled and cudnn.benchmark and not cudnn.deterministic
""")


def test_a_loader_warns_and_goes_on() -> None:
    run("""
import warnings
from flambeau.utils.data import DataLoader
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    batches = list(DataLoader(range(4), batch_size=2, pin_memory=True))
assert len(batches) == 2 and "no accelerator is found" in str(seen[0].message)
""")
