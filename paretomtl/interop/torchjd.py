"""Methods as weightings of TorchJD; the way back is `ps.from_torchjd`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from paretomtl.preference import normalise
from paretomtl.solver import Solver, Weighting

if TYPE_CHECKING:
    from paretomtl.interop.torchjd_weighting import SolverWeighting

TRIED = 2, 3  # numbers of losses with which a method is tried, where no preference says how many there are


def to_torchjd(solver: Solver, preference: Sequence[float] | None = None) -> "SolverWeighting":
    """Return a method as a weighting of TorchJD, which sees the Gramian alone.

    It goes where TorchJD takes a `Weighting` of Gramians: into its `GramianWeightedAggregator`, for `jac_to_grad`, and
    after its autogram engine's `compute_gramian`. The weights are the method's, in its own scale, without a gradient.

    Args:
        solver: a `Weighting` without a state, whose weights do not depend on the losses, such as `MGDA()`.
        preference: how much each loss matters, in the order of the Gramian's rows; None for an even preference.

    Raises:
        ImportError: TorchJD is not installed.
        TypeError: the method sees something else than a Gramian, or has a state.
        ValueError: its weights depend on the losses; or it uses no preference, and one is given.
    """
    try:
        from paretomtl.interop.torchjd_weighting import SolverWeighting
    except ImportError as error:
        raise ImportError("to_torchjd needs torchjd: pip install 'paretomtl[torchjd]'") from error
    if not isinstance(solver, Weighting):
        raise TypeError(f"to_torchjd({solver!r}): give a Weighting, such as MGDA(); TorchJD's see only the Gramian")
    if solver.stateful or solver.joint:
        what = "carries its state from step to step" if solver.stateful else "moves several points against one another"
        raise TypeError(f"to_torchjd({solver!r}): it {what}; TorchJD calls a weighting with one Gramian alone")
    if preference is not None and not solver.uses_preference:
        raise ValueError(f"to_torchjd({solver!r}, preference={preference!r}): it uses no preference; leave it out")
    r = None if preference is None else torch.from_numpy(normalise(preference, len(preference)))
    for m in TRIED if r is None else [len(r)]:
        _check_ignores_losses(solver, torch.full((m,), 1 / m, dtype=torch.float64) if r is None else r)
    return SolverWeighting(solver, r)


def _check_ignores_losses(solver: Weighting, preference: Tensor) -> None:
    """Raise if the weights at one Gramian differ between losses."""
    m = len(preference)
    gramian = torch.eye(m, dtype=torch.float64).mul(torch.arange(2, m + 2)) - 0.5 / m  # norms differ, and all conflict
    first, *others = (torch.linspace(1, last, m, dtype=torch.float64) for last in (1, 2, 0.1))
    expected = solver(first, gramian, preference)
    if not all(torch.allclose(solver(losses, gramian, preference), expected, rtol=1e-6) for losses in others):
        raise ValueError(
            f"to_torchjd({solver!r}): its weights depend on the losses; a weighting of TorchJD sees only the Gramian"
        )
