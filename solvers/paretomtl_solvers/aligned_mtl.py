"""Aligned-MTL: the gradients' principal components made equally long (Senushkin et al., CVPR 2023).

With the Gramian C = V S V', of rank k, the gradients are replaced by the nearest ones that are orthogonal and of one
length, J -> B J with B = sqrt(s) V S^(-1/2) V', and summed with the weights a: d = sum_i a_i (B J)_i. s is one of the k
eigenvalues or their mean. The paper's weights a are the preference, a = m r; the released code has ones, which is the
even preference.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paretomtl.solver import Confidence
from paretomtl_solvers.gramians import GramianWeighting, code_of, decompose

SCALES = ("min", "median", "rmse")


@dataclass(frozen=True)
class AlignedMTL(GramianWeighting):
    """The preference's sum of gradients that were made orthogonal and of one length.

    Args:
        scale: s, the squared length: the smallest eigenvalue of the Gramian ("min"), their lower median ("median"), or
            their mean ("rmse").

    The weights (*points, m) are in the scale of a sum of the gradients. `Status`: "stationary" where the direction
    vanishes. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    scale: Literal["min", "median", "rmse"] = "min"

    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if self.scale not in SCALES:
            raise ValueError(f"scale={self.scale!r} is not one of {', '.join(SCALES)}")

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        values, vectors = decompose(C)
        if self.scale == "rmse":
            squared = values.mean()
        else:
            squared = values[0 if self.scale == "min" else (len(values) - 1) // 2]
        weights = vectors @ (np.sqrt(squared / values) * (len(C) * preference @ vectors))
        return weights, code_of(weights, C)
