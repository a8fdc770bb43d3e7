"""The only module of the engine that imports TorchJD: a method as one of its weightings."""

import torch
from torch import Tensor
from torchjd.aggregation import Weighting as TorchJDWeighting  # pyright: ignore[reportMissingImports]

from paretomtl.solver import Weighting


class SolverWeighting(TorchJDWeighting):
    """The weights of a method, from the Gramian (m, m) alone; see `paretomtl.to_torchjd`.

    Args:
        solver: a method without a state, whose weights do not depend on the losses.
        preference: (m,), of sum 1; None for an even preference.
    """

    def __init__(self, solver: Weighting, preference: Tensor | None):
        super().__init__()
        self.solver, self.preference = solver, preference

    def forward(self, stat: Tensor, /) -> Tensor:
        """Return the weights (m,), in the Gramian's dtype and on its device."""
        m = stat.shape[0]
        if self.preference is not None and len(self.preference) != m:
            raise ValueError(f"the preference has {len(self.preference)} numbers, and the Gramian {m} rows")
        r = torch.full((m,), 1 / m, dtype=torch.float64) if self.preference is None else self.preference
        with torch.no_grad():
            weights = self.solver(torch.ones_like(r).to(stat.device), stat.double(), r.to(stat.device))
        return weights.to(stat)

    def __repr__(self) -> str:
        """Return the call that makes it."""
        preference = "" if self.preference is None else f", preference={self.preference.tolist()}"
        return f"to_torchjd({self.solver!r}{preference})"
