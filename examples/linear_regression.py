"""Fits a line to noisy points: the smallest complete training loop."""

import flambeau as torch

torch.manual_seed(0)
x = torch.linspace(-1, 1, 100).unsqueeze(1)
y = 3 * x - 0.5 + 0.1 * torch.randn(100, 1)

model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
for step in range(61):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step:2}: loss {loss.item():.4f}")

print(f"y = {model.weight.item():.3f} x + {model.bias.item():.3f}   (true: 3 x - 0.5)")
