"""Document 000: tensors, NumPy, and a two-layer network from hand-made gradients to optim."""

import numpy as np
from registry import printing, training

SAMPLES, INPUTS, HIDDEN, OUTPUTS = 64, 1000, 100, 10
STEPS = 500


@printing
def creation(torch):
    print(torch.empty(5, 3).shape)
    print(torch.rand(5, 3))
    x = torch.zeros(5, 3, dtype=torch.long)
    print(x, x.dtype, torch.zeros(5, 3).long().dtype)
    x = torch.tensor([5.5, 3])
    print(x, x.new_ones(5, 3))
    x = torch.randn_like(x.new_ones(5, 3), dtype=torch.double)
    print(x, x.shape, x.size())


@printing
def addition(torch):
    x, y = torch.rand(5, 3), torch.rand(5, 3)
    out = torch.empty(5, 3)
    torch.add(x, y, out=out)
    print(x + y, torch.add(x, y), out)
    y.add_(x)
    print(y)


@printing
def indexing_and_views(torch):
    x = torch.rand(5, 3)
    print(x[:, 1:])
    x = torch.rand(4, 4)
    z = x.view(2, 8)
    print(x.view(16), z, x.view(-1, 2), z.transpose(1, 0))


@printing
def single_value(torch):
    x = torch.rand(1)
    print(x, x.data, x.grad, x.item())
    names = "T __abs__ __add__ __and__ __array__ __bool__ __contains__ __deepcopy__ __eq__ "
    names += "__float__ __format__ __getitem__ __iadd__ __index__ __int__ __invert__ __iter__ "
    names += "__len__ __matmul__ __neg__ __pow__ __radd__ __reduce_ex__ __repr__ __rsub__ "
    names += "__reversed__ __setitem__ __truediv__ __xor__ add_ backward item numpy"
    print(sorted(set(names.split()) - set(dir(x))))


@printing
def numpy_shares_memory(torch):
    a = torch.ones(5)
    b = a.numpy()
    print(a, repr(b))
    b[1] = 10
    print(a, repr(b))
    a = np.ones(5)
    b = torch.from_numpy(a)
    np.add(a, 1, out=a)
    print(repr(a), b)
    a = a + 1
    print(repr(a), b)


@printing
def devices(torch):
    x = torch.rand(1)
    y = torch.ones_like(x, device=torch.device("cpu"))
    z = x.to(torch.device("cpu")) + y
    print(z, z.to("cpu"), repr(y.to("cpu").data.numpy()), repr(y.cpu().data.numpy()))
    print(torch.device("cuda"), isinstance(torch.cuda.is_available(), bool))


@printing
def scalar_gradients(torch):
    x, w, b = (torch.tensor(value, requires_grad=True) for value in (1.0, 2.0, 3.0))
    y = w * x + b
    y.backward()
    print(w.grad, x.grad, b.grad)


@printing
def large_tensor(torch):
    print(torch.randn(INPUTS, HIDDEN) * 5000)


def data(torch, dtype):
    return torch.randn(SAMPLES, INPUTS).to(dtype), torch.randn(SAMPLES, OUTPUTS).to(dtype)


@training(every=25)
def gradients_by_hand(torch, dtype):
    x, y = data(torch, dtype)
    w1, w2 = torch.randn(INPUTS, HIDDEN).to(dtype), torch.randn(HIDDEN, OUTPUTS).to(dtype)
    found = []
    for _ in range(STEPS):
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        difference = h_relu.mm(w2) - y
        found.append(difference.pow(2).sum().item())
        grad_out = 2.0 * difference
        grad_w2 = h_relu.t().mm(grad_out)
        grad_h = grad_out.mm(w2.t()).clone()
        grad_h[h < 0] = 0
        grad_w1 = x.t().mm(grad_h)
        w1 -= 1e-6 * grad_w1
        w2 -= 1e-6 * grad_w2
    return found


@training(every=25)
def gradients_by_autograd(torch, dtype):
    x, y = data(torch, dtype)
    w1 = torch.randn(INPUTS, HIDDEN).to(dtype).requires_grad_()
    w2 = torch.randn(HIDDEN, OUTPUTS).to(dtype).requires_grad_()
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


def sequential(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))


def train_by_hand(torch, model, x, y, rate):
    loss_fn = torch.nn.MSELoss(reduction="sum")
    found = []
    for _ in range(STEPS):
        loss = loss_fn(model(x), y)
        found.append(loss.item())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
    return found


def train_with(torch, optimizer, model, x, y):
    loss_fn = torch.nn.MSELoss(reduction="sum")
    found = []
    for _ in range(STEPS):
        loss = loss_fn(model(x), y)
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


@training(every=25)
def nn_with_usual_weights(torch, dtype):
    x, y = data(torch, dtype)
    return train_by_hand(torch, sequential(torch).to(dtype), x, y, 1e-6)


@training(every=25)
def nn_with_normal_weights(torch, dtype):
    x, y = data(torch, dtype)
    model = sequential(torch)
    torch.nn.init.normal_(model[0].weight)
    torch.nn.init.normal_(model[2].weight)
    return train_by_hand(torch, model.to(dtype), x, y, 1e-6)


@training(every=25)
def adam(torch, dtype):
    x, y = data(torch, dtype)
    model = sequential(torch).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    return train_with(torch, optimizer, model, x, y)


@training(every=25)
def own_module(torch, dtype):
    class Net(torch.nn.Module):
        def __init__(self, inputs, hidden, outputs):
            super(Net, self).__init__()  # noqa: UP008
            self.first = torch.nn.Linear(inputs, hidden, bias=False)
            self.second = torch.nn.Linear(hidden, outputs, bias=False)

        def forward(self, x):
            return self.second(self.first(x).clamp(min=0))

    x, y = data(torch, dtype)
    model = Net(INPUTS, HIDDEN, OUTPUTS).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    return train_with(torch, optimizer, model, x, y)
