"""What the methods promise that weigh the losses, by their course or their gradients' sizes."""

from tests.solvers.promises.kit import Line

TABLE: list[Line] = []
