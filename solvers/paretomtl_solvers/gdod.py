"""GDOD: gradient descent using orthogonal decomposition (Dong et al., CIKM 2022).

The eigenvectors v_k of the Gramian give an orthonormal basis of the gradients' span, in which gradient i has the
coordinates sqrt(s_k) v_ik. Where these have one sign over i the tasks share the direction, else they conflict over it.
d is the gradients' sum on the shared directions alone, so no loss rises: w = sum over shared k of v_k (v_k' m r).

This is an interpretation: the paper's rule for the conflicting directions was not read, and they are left out. The
preference is this library's; the even one has the plain sum. Where eigenvalues are equal, the eigenvectors are chosen
so that one of them is along the projection of r on their space; the choice matters, and the status says "relaxed".
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers.gramians import GramianWeighting, code_of, decompose

ZERO = 1e-10  # an entry of an eigenvector: below, it has no sign
LEAST_SIZE = 1e-300  # a divisor that is at least this
TIE = 1e-9  # a difference of eigenvalues relative to the largest: below, they are equal


@dataclass(frozen=True)
class GDOD(GramianWeighting):
    """The preference's sum of the gradients, on the principal directions on which they agree.

    The weights (*points, m) are at least 0, to rounding, in the scale of a sum of the gradients. `Status`: "stationary"
    where the direction vanishes, which is so where the gradients share none; "relaxed" where eigenvalues are equal, and
    the answer rests on a choice of eigenvectors. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    confidence: ClassVar[Confidence] = "interpretation"

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        values, vectors = decompose(C)
        parts = vectors * (len(C) * preference @ vectors)
        apart = np.diff(values) > TIE * values[-1]
        code = Code.SOLVED
        if not apart.all():
            code = Code.RELAXED
            parts = np.add.reduceat(parts, np.flatnonzero(np.append(True, apart)), axis=1)
            vectors = parts / np.maximum(np.sqrt((parts * parts).sum(axis=0)), LEAST_SIZE)
        shared = (vectors >= -ZERO).all(axis=0) | (vectors <= ZERO).all(axis=0)
        weights = parts @ shared
        return weights, Code.STATIONARY if code_of(weights, C) == Code.STATIONARY else code
