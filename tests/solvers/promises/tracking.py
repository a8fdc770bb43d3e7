"""What the methods promise that keep what they saw: moving averages, learned weights, draws."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
