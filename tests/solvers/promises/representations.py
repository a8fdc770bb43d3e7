"""What the methods promise that look at gradients at a representation."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
