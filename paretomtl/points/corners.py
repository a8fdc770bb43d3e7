"""The range of each loss, as the corners tell it, and what they tell that it should not be taken for granted.

Rules where the corners do not tell it:

- a seed in which a corner failed does not count; where that leaves none, losses stay as they are
- the ideal is the least loss over all corners, also where it is not that of the objective's own
- a corner that another one dominates does not count for the nadir
- an objective whose range is nothing, or within twice the spread of its ideal over the seeds, is left out
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from paretomtl.normalisation import Normalisation
from paretomtl.point import Point
from paretomtl.points.score import is_nondominated

SPREADS = 2.0  # standard deviations of the ideal over the seeds, up to which a range is noise
ROUNDING = 1e-9  # relative to the losses: a range up to this is none


def find_range(corners: Sequence[Point], names: Sequence[str]) -> tuple[Normalisation, list[str]]:
    """Return the normalisation that the corners of all seeds tell, and a note on each rule that it took."""
    m, seeds = len(names), sorted({p.seed for p in corners})
    whole = [_losses_of(corners, names, seed) for seed in seeds]
    rows = [losses for losses in whole if losses is not None]
    failed = {str(p.reason) for p in corners if p.state != "done"}
    remedy = "mend the cause, or give normalise={name: (ideal, nadir)}"
    if not rows:
        text = f"a corner failed in every seed ({'; '.join(sorted(failed))}), so losses are not normalised; {remedy}"
        return Normalisation((0.0,) * m, (1.0,) * m), [text]
    notes = [f"a corner failed ({'; '.join(sorted(failed))}): its seed does not count for the range of losses"]
    notes = (notes if len(rows) < len(whole) else []) + _describe_dominated(rows, names)
    ideals = np.array([losses.min(axis=0) for losses in rows])
    nadirs = np.array([losses[is_nondominated(losses)].max(axis=0) for losses in rows])
    ideal, nadir = np.median(ideals, axis=0), np.median(nadirs, axis=0)
    spread = ideals.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(m)
    least = np.maximum(SPREADS * spread, ROUNDING * np.maximum(abs(ideal), abs(nadir)))
    for i in np.flatnonzero(nadir - ideal <= least).tolist():
        within = f" within its spread over seeds, {spread[i]:.3g}" if spread[i] else ""
        notes.append(
            f"loss {names[i]!r} is {ideal[i]:.4g} where it is trained alone, and {nadir[i]:.4g} at worst where others "
            f"are:{within or ' the same'}. It is not normalised; leave it out of the objectives, or give "
            "normalise={name: (ideal, nadir)}"
        )
        ideal[i], nadir[i] = 0.0, 1.0
    return Normalisation(tuple(ideal.tolist()), tuple(nadir.tolist())), notes


def _losses_of(corners: Sequence[Point], names: Sequence[str], seed: int) -> Float[np.ndarray, "m m"] | None:
    """Return the losses of a seed's corners, a row each; None where one of them failed."""
    done = {p.corner: p.losses["validate"] for p in corners if p.seed == seed and p.state == "done"}
    return np.array([done[name] for name in names]) if set(done) == set(names) else None


def _describe_dominated(rows: Sequence[Float[np.ndarray, "m m"]], names: Sequence[str]) -> list[str]:
    """Describe the corners that another one dominates, an entry each."""
    dominated = np.array([~is_nondominated(losses) for losses in rows]).sum(axis=0)
    return [
        f"training {names[i]!r} alone ended with larger losses than training another one alone, in {dominated[i]} of "
        f"{len(rows)} seeds; it does not count for the worst losses. Train longer, or give "
        "normalise={name: (ideal, nadir)}"
        for i in np.flatnonzero(dominated).tolist()
    ]
