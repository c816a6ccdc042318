"""Document 004: the two-layer network with dtype and device given, reporting every 100 steps."""

from document_000 import HIDDEN, INPUTS, OUTPUTS, SAMPLES, STEPS
from registry import printing, training


def drawn(torch, dtype, rows, columns):
    made = torch.randn(rows, columns, device=torch.device("cpu"), dtype=torch.float)
    return made.to(dtype)


@training(every=100)
def tensors(torch, dtype):
    x, y = drawn(torch, dtype, SAMPLES, INPUTS), drawn(torch, dtype, SAMPLES, OUTPUTS)
    w1, w2 = drawn(torch, dtype, INPUTS, HIDDEN), drawn(torch, dtype, HIDDEN, OUTPUTS)
    found = []
    for _ in range(STEPS):
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        g = 2.0 * (h_relu.mm(w2) - y)
        found.append((h_relu.mm(w2) - y).pow(2).sum().item())
        grad_h = g.mm(w2.t())
        grad_h[h < 0] = 0
        w1 -= 1e-6 * x.t().mm(grad_h)
        w2 -= 1e-6 * h_relu.t().mm(g)
    return found


@training(every=100)
def autograd(torch, dtype):
    x, y = drawn(torch, dtype, SAMPLES, INPUTS), drawn(torch, dtype, SAMPLES, OUTPUTS)
    w1 = drawn(torch, dtype, INPUTS, HIDDEN).requires_grad_(True)
    w2 = drawn(torch, dtype, HIDDEN, OUTPUTS).requires_grad_(True)
    found = []
    for _ in range(STEPS):
        loss = (x.mm(w1).clamp(min=0).mm(w2) - y).pow(2).sum()
        found.append(loss.item())
        loss.backward()
        with torch.no_grad():
            w1 -= 1e-6 * w1.grad
            w2 -= 1e-6 * w2.grad
            w1.grad.zero_()
            w2.grad.zero_()
    return found


@printing
def leaf_with_device_and_dtype(torch):
    device = torch.device("cpu")
    w = torch.randn(2, 3, device=device, dtype=torch.float, requires_grad=True)
    print(w, w.is_leaf, (w * 2).mm(w.t()).sum())
