"""Compile: a function of tensors recorded once, optimised and replayed without Python."""
