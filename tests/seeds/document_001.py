"""Document 001: conversions, gradients, a dataset, layers, losses, optimizers."""

import numpy as np
from registry import printing, training


@printing
def numpy_and_tensors(torch):
    in_numpy, in_torch = np.array([1, 2, 3.0]), torch.tensor([3, 4, 5.0])
    print(torch.from_numpy(in_numpy) + in_torch)
    print(in_numpy + in_torch.numpy())


@printing
def shapes(torch):
    x = torch.randn((100, 3, 28, 28))
    print(x.shape, x.view(100, 3, 784).shape, x.view(-1, 3, 784).shape)
    print((torch.empty(5, 1, 4, 1) + torch.empty(3, 1, 1)).size())


@printing
def graph(torch):
    a = torch.tensor(2.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    c = a + b
    d = b + 1
    print("c", c)
    print("d", d)
    print("e", c * d)


@printing
def devices(torch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    x = torch.rand(10)
    print(x, repr(cpu), repr(gpu))
    if torch.cuda.is_available():
        assert str(x.to(gpu)).endswith("device='cuda:0')")
    print(x.to(cpu))


@printing
def gradient_of_a_square(torch):
    x = torch.tensor([1.0], requires_grad=True)
    y = (x - 2) ** 2
    y.backward()
    print("by hand:", 2 * (x - 2))
    print("by autograd:", x.grad)


@printing
def gradient_of_a_product(torch):
    def by_hand(w):
        return torch.tensor([2 * w[1] - w[1] * torch.sin(w[0]), 2 * w[0] + torch.cos(w[0])])

    w = torch.tensor([np.pi, 1], requires_grad=True)
    z = 2 * w[0] * w[1] + w[1] * torch.cos(w[0])
    z.backward()
    print("by hand", by_hand(w))
    print("by autograd", w.grad)


@training(every=1)
def linear_regression(torch, dtype):
    n = 50
    x = torch.randn(n, 2).to(dtype)
    true_w = torch.tensor([[-1.0], [2.0]]).to(dtype)
    y = x @ true_w + torch.randn(n, 1).to(dtype) * 0.1
    w = torch.tensor([[1.0], [0]], dtype=dtype, requires_grad=True)
    found = []
    for _ in range(20):
        loss = torch.norm(y - x @ w) ** 2 / n
        loss.backward()
        by_hand = -2 * x.t() @ (y - x @ w) / n
        assert np.allclose(by_hand.detach().view(2).numpy(), w.grad.view(2).numpy(), atol=1e-5)
        found.append(loss.item())
        w.data = w.data - 0.1 * w.grad
        w.grad.detach()
        w.grad.zero_()
    return [*found, *w.view(2).detach().numpy().tolist()]


@printing
def dataset(torch):
    data = torch.utils.data

    class Pairs(data.Dataset):
        def __init__(self, x, y):
            self.x, self.y = x, y

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            return self.x[index], self.y[index]

    pairs = Pairs(np.random.rand(100, 10), np.random.rand(100))
    loader = data.DataLoader(pairs, batch_size=4, shuffle=True, num_workers=4)
    for number, batch in enumerate(loader):
        print(number, batch)


@printing
def linear_layer(torch):
    layer = torch.nn.Linear(3, 4)
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    print(x.shape, layer(x).shape)
    print("W:", layer.weight)
    print("b:", layer.bias)


@printing
def activation(torch):
    x = torch.tensor([-1.0, 1.0, 0.0])
    print(x, torch.nn.ReLU()(x))


@printing
def several_layers(torch):
    nn = torch.nn
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    print(model(torch.tensor([[1.0, 2, 3], [4, 5, 6]])).shape)
    print(model)


@printing
def loss_functions(torch):
    print(torch.nn.MSELoss()(torch.tensor([[0.0, 0, 0]]), torch.tensor([[1.0, 0, -1]])))
    scores = torch.tensor([[-1.0, 1], [-1, 1], [1, -1]])
    classes = torch.tensor([1, 1, 0])
    for factor in (1, 3, -1, -3):
        print(torch.nn.CrossEntropyLoss()(factor * scores, classes))


@printing
def one_step_of_sgd(torch):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    print("before:", model.weight)
    loss = torch.nn.MSELoss()(model(torch.tensor([[1.0]])), torch.tensor([[2.0]]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("after:", model.weight)


@training(every=60)
def curve_with_momentum(torch, dtype):
    nn = torch.nn
    x = torch.rand(200, 1).to(dtype)
    y = 4 * torch.sin(np.pi * x) * torch.cos(6 * np.pi * x**2)
    model = nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    ).to(dtype)
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    found = []
    for _ in range(1200):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    grid = torch.from_numpy(np.linspace(0, 1, 50)).float().view(-1, 1)
    assert model(grid.to(dtype)).detach().numpy().shape == grid.detach().numpy().shape
    return found
