"""Gradients, Jacobians, Gramians, and the losses as a function: the only layer that knows autograd."""
