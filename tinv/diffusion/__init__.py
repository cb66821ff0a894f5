"""Noise processes, losses and timestep samplers: pure functions of tensors."""
