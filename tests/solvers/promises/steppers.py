"""What the methods promise that ask for the losses elsewhere."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
