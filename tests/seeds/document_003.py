"""Document 003: the two-layer network again, with an own Function and shared layers."""

import random

from document_000 import HIDDEN, INPUTS, OUTPUTS, STEPS, data, sequential, train_by_hand, train_with
from registry import training


@training(every=25)
def own_function(torch, dtype):
    class Relu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            grad = g.clone()
            grad[x < 0] = 0
            return grad

    device = torch.device("cpu")
    x, y = data(torch, dtype)
    w1 = torch.randn(INPUTS, HIDDEN, device=device, dtype=torch.float).to(dtype).requires_grad_()
    w2 = torch.randn(HIDDEN, OUTPUTS, device=device, dtype=torch.float).to(dtype).requires_grad_()
    found = []
    for _ in range(STEPS):
        loss = (Relu.apply(x.mm(w1)).mm(w2) - y).pow(2).sum()
        found.append(loss.item())
        loss.backward()
        with torch.no_grad():
            w1 -= 1e-6 * w1.grad
            w2 -= 1e-6 * w2.grad
            w1.grad.zero_()
            w2.grad.zero_()
    return found


@training(every=25)
def nn_by_hand(torch, dtype):
    x, y = data(torch, dtype)
    return train_by_hand(torch, sequential(torch).to(dtype), x, y, 1e-4)


@training(every=25)
def own_module_with_sgd(torch, dtype):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(INPUTS, HIDDEN)
            self.second = torch.nn.Linear(HIDDEN, OUTPUTS)

        def forward(self, x):
            return self.second(self.first(x).clamp(min=0))

    x, y = data(torch, dtype)
    model = Net().to(dtype)
    return train_with(torch, torch.optim.SGD(model.parameters(), lr=1e-4), model, x, y)


@training(every=25)
def shared_layers(torch, dtype):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(INPUTS, HIDDEN)
            self.middle = torch.nn.Linear(HIDDEN, HIDDEN)
            self.last = torch.nn.Linear(HIDDEN, OUTPUTS)

        def forward(self, x):
            x = self.first(x).clamp(min=0)
            for _ in range(random.randint(0, 3)):
                x = self.middle(x).clamp(min=0)
            return self.last(x)

    x, y = data(torch, dtype)
    model = Net().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    return train_with(torch, optimizer, model, x, y)
