"""Training steps of many kinds, compiled as one graph, equal the eager ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn

functional = nn.functional
Step = Callable[[Any, Any], Any]
Made = tuple[Step, list[Any]]  # the step, and what it changes
STEPS: dict[str, Callable[[], Made]] = {}


def training(make: Callable[[], Made]) -> Callable[[], Made]:
    STEPS[make.__name__] = make
    return make


def network(outputs: int = 6) -> Any:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs))


@training
def gradients_accumulated_in_place() -> Made:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=False)
        total = torch.zeros(())
        for half in (slice(0, 4), slice(4, 8)):
            loss = functional.mse_loss(model(x[half]), y[half]) / 2
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return total

    return step, list(model.parameters())


@training
def gradients_never_cleared() -> Made:
    model = network()

    def step(x: Any, y: Any) -> Any:
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
        return loss

    return step, list(model.parameters())


@training
def clipped_with_moving_average() -> Made:
    model = network()
    average = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = functional.huber_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        with torch.no_grad():
            for kept, parameter in zip(average, model.parameters()):
                kept.mul_(0.9).add_(parameter, alpha=0.1)
        return loss

    return step, [*model.parameters(), *average]


def cleared_at_the_end(make: Callable[[Any], Any]) -> Made:
    model = network()
    optimizer = make(model.parameters())

    def step(x: Any, y: Any) -> Any:
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, list(model.parameters())


@training
def gradients_cleared_at_the_end() -> Made:
    return cleared_at_the_end(lambda parameters: torch.optim.SGD(parameters, 1e-2))


@training
def gradients_cleared_at_the_end_of_adam() -> Made:
    return cleared_at_the_end(lambda parameters: torch.optim.Adam(parameters, 1e-2))


@training
def two_networks_against_each_other() -> Made:
    generator, judge = network(), network(1)
    optimizers = [
        torch.optim.Adam(generator.parameters(), 1e-3),
        torch.optim.RMSprop(judge.parameters(), 1e-3),
    ]
    loss = functional.binary_cross_entropy_with_logits

    def step(x: Any, y: Any) -> Any:
        noise = torch.randn(8, 6)
        optimizers[1].zero_grad()
        false = loss(judge(generator(noise).detach()), torch.zeros(8, 1))
        of_judge = loss(judge(y), torch.ones(8, 1)) + false
        of_judge.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        of_generator = loss(judge(generator(noise)), torch.ones(8, 1))
        of_generator.backward()
        optimizers[0].step()
        return of_judge + of_generator

    return step, [*generator.parameters(), *judge.parameters()]


@training
def penalty_on_a_gradient() -> Made:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)

    def step(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        optimizer.zero_grad()
        out = model(x)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        loss = functional.mse_loss(out, y) + 0.1 * ((slope.norm(dim=1) - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step, list(model.parameters())


@training
def one_weight_used_twice() -> Made:
    embedding, head = nn.Embedding(6, 6), nn.Linear(6, 6, bias=False)
    head.weight = embedding.weight
    optimizer = torch.optim.Adagrad(head.parameters(), 1e-2)

    def step(x: Any, y: Any) -> Any:
        tokens = (x.abs() * 2).long().clamp(0, 5)
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(embedding(tokens)).view(-1, 6), tokens.view(-1))
        loss.backward()
        optimizer.step()
        return loss

    return step, [head.weight]


@training
def recurrent() -> Made:
    cells, head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 6)
    parameters = [*cells.parameters(), *head.parameters()]
    optimizer = torch.optim.NAdam(parameters, 1e-2)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = functional.smooth_l1_loss(head(cells(x.view(2, 4, 6))[0]).view(8, 6), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, parameters


@training
def transformer_with_scheduler() -> Made:
    layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.2, batch_first=True)
    optimizer = torch.optim.RAdam(layer.parameters(), 1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = functional.l1_loss(layer(x.view(2, 4, 6)).view(8, 6), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    return step, list(layer.parameters())


@training
def convolution_with_statistics() -> Made:
    layers = [nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Dropout(0.4), nn.Linear(24, 6))
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9, nesterov=True)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        found = functional.log_softmax(model(x.unsqueeze(1)), 1)
        loss = functional.kl_div(found, functional.softmax(y, 1), reduction="batchmean")
        loss.backward()
        optimizer.step()
        return loss

    return step, [*model.parameters(), *model.buffers()]


@training
def groups_of_parameters() -> Made:
    model = network()
    parameters = list(model.parameters())
    groups = [{"params": parameters[:2], "lr": 1e-2}, {"params": parameters[2:]}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [1e-2, 1e-3], total_steps=50)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    return step, parameters


@training
def writes_into_parts() -> Made:
    parameter = torch.ones(6, requires_grad=True)

    def step(x: Any, y: Any) -> Any:
        h = x.clone()
        h[:, 0] = parameter[0] * 2
        h[2:4].mul_(parameter)
        h += y
        loss = (h * parameter).var() + h.std()
        loss.backward()
        with torch.no_grad():
            parameter.add_(parameter.grad, alpha=-0.05)
            parameter.grad.zero_()
        return loss

    return step, [parameter]


def trained(name: str, compiled: bool) -> tuple[list[float], list[Any], Any]:
    """Losses, what was changed, and the step."""
    torch.manual_seed(0)
    step, state = STEPS[name]()
    run = torch.compile(step, fullgraph=True) if compiled else step
    losses = []
    for i in range(9):
        # The same batch at first: what is taken for constant then shows when another one comes.
        torch.manual_seed(50 + max(i - 4, 0))
        losses.append(run(torch.randn(8, 6), torch.randn(8, 6)).item())
    return losses, [x.detach().clone() for x in state], run


@pytest.mark.parametrize("name", list(STEPS))
def test_training_step(name: str) -> None:
    losses, state, run = trained(name, compiled=True)
    assert len(run.graph.nodes) < 0.8 * len(run.recorded_graph.nodes)
    eager_losses, eager_state, _ = trained(name, compiled=False)
    assert losses == pytest.approx(eager_losses, rel=2e-5)
    for a, b in zip(state, eager_state):
        assert torch.allclose(a.float(), b.float(), rtol=2e-4, atol=2e-5)
