"""What the methods promise that solve a program, and those that combine the gradients entry by entry."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
