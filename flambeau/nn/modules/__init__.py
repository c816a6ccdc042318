"""The layers, in modules named as PyTorch's."""
