"""Compiled functions on a GPU: equal to the CPU, captured as CUDA graphs, and never stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn

CALLS = 9  # two recordings, two replays, and then the CUDA graph


def net(device: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).to(device)


def batches(device: str, sizes: list[int]) -> list[tuple[Any, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randn(n, k, generator=generator).to(device) for k in (6, 1)) for n in sizes]


def training_step(device: str, rule: str, schedule: bool) -> tuple[Callable[..., Any], nn.Module]:
    model = net(device)
    optimizer = getattr(torch.optim, rule)(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8) if schedule else None

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return loss

    return step, model


def losses(device: str, rule: str, schedule: bool, compiled: bool, sizes: list[int]) -> Any:
    step, model = training_step(device, rule, schedule)
    step = torch.compile(step, fullgraph=True) if compiled else step
    results = [step(x, y) for x, y in batches(device, sizes)]  # kept, so memory is not reused
    if compiled:
        assert any(entry.executable.captured for entry in step._entries)  # type: ignore[attr-defined]
    return torch.stack(results).detach().cpu(), [p.detach().cpu() for p in model.parameters()]


@pytest.mark.parametrize("rule, schedule", [("SGD", False), ("Adam", True)])
def test_training_steps_are_those_of_the_cpu(rule: str, schedule: bool) -> None:
    sizes = [16] * CALLS
    expected, parameters = losses("cpu", rule, schedule, False, sizes)
    found, trained = losses("cuda", rule, schedule, True, sizes)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(trained, parameters)


def test_other_batch_sizes() -> None:
    sizes = [8] * 6 + [12] * 4 + [20] * 5 + [8] * 2
    expected, _ = losses("cpu", "SGD", False, False, sizes)
    found, _ = losses("cuda", "SGD", False, True, sizes)
    torch.testing.assert_close(found, expected)


def test_gradients_of_a_compiled_module() -> None:
    outcomes = []
    for device, compiled in (("cpu", False), ("cuda", True)):
        model = net(device)
        run = torch.compile(model) if compiled else model
        seen = []
        for x, y in batches(device, [16] * CALLS):
            x.requires_grad_()
            loss = nn.functional.mse_loss(run(x), y)
            loss.backward()
            seen.append(torch.cat([x.grad.flatten(), model[0].weight.grad.flatten()]).cpu())
            model.zero_grad()
        outcomes.append(torch.stack(seen))
    torch.testing.assert_close(outcomes[1], outcomes[0])


def test_gradients_that_somebody_keeps_are_not_overwritten() -> None:
    step, model = training_step("cuda", "SGD", False)
    step = torch.compile(step)
    kept = []
    for x, y in batches("cuda", [16] * (2 * CALLS)):
        step(x, y)
        kept.append((model[0].weight.grad, model[0].weight.grad.clone()))
    for gradient, copy in kept:
        torch.testing.assert_close(gradient.cpu(), copy.cpu())


def test_results_and_arguments_have_memory_of_their_own() -> None:
    double = torch.compile(lambda x: (x * 2, x + 1))
    inputs = [torch.full((5,), float(i), device="cuda") for i in range(CALLS)]
    results = [double(x) for x in inputs]
    for i, (a, b) in enumerate(results):
        assert a.tolist() == [2.0 * i] * 5 and b.tolist() == [i + 1.0] * 5
    assert [x[0].item() for x in inputs] == list(range(CALLS))


def test_parameters_replaced_after_the_capture() -> None:
    model = net("cuda")
    run = torch.compile(model)
    x = torch.ones(3, 6, device="cuda")
    with torch.no_grad():
        for _ in range(CALLS):
            run(x)
        model[2].bias.data = model[2].bias.data + 1
        model[0].weight.mul_(0.5)
        torch.testing.assert_close(run(x).cpu(), model(x).cpu())


def test_what_is_on_two_devices_stays_eager() -> None:
    add = torch.compile(lambda x: x + torch.ones(()))
    with pytest.warns(torch.compiler.CompileWarning, match="several devices"):
        results = [add(torch.zeros(3, device="cuda")).tolist() for _ in range(4)]
    assert results == [[1.0] * 3] * 4


def test_arguments_on_another_device_are_recorded_anew() -> None:
    double = torch.compile(lambda x: x * 2)
    for device in ("cpu", "cuda", "cpu", "cuda", "cuda"):
        for _ in range(3):
            result = double(torch.ones(3, device=device))
            assert result.device.type == device and result.tolist() == [2.0] * 3


def test_loops_run_step_by_step() -> None:
    def total(x: Any) -> Any:
        return torch.scan(lambda carry, row: (carry + row, carry), torch.zeros_like(x[0]), x)

    compiled = torch.compile(total)
    x = torch.arange(12.0).reshape(4, 3)
    for _ in range(4):
        for found, expected in zip(compiled(x.cuda()), total(x), strict=True):
            torch.testing.assert_close(found.cpu(), expected)


def test_report_says_how_steps_get_to_the_gpu() -> None:
    double = torch.compile(lambda x: torch.tanh(x) * 2)
    for _ in range(CALLS):
        double(torch.ones(3, device="cuda"))
    assert "CUDA graph" in str(double.report())
