"""What the methods promise that are formulas of the Gramian."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
