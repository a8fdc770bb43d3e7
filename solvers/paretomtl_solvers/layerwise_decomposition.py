"""Layer-wise gradient decomposition for continual learning (Tang et al., CVPR 2021).

A new task with gradient g is learnt while memory tasks with gradients g_1 … g_T are kept. Their shared part is the mean
g_bar; their specific parts are s_j = g_j - g_bar, of which the k largest principal directions v count. The step

    min |d - g|^2   subject to   g_bar' d >= 0,   v' d = 0 for each principal direction v

leaves the mean of the memory's losses at least as low, and its tasks' differences as they are: with P the projection
across the directions v, it is P g, less its part along P g_bar where that one would raise the mean.

This is an interpretation: the equations were recalled from the paper and its code was not read. What is certain is the
program above. The paper solves it layer by layer; no layer's bounds reach a method here, so all shared parameters are
one layer.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Status, Weighting
from paretomtl_solvers.gramians import code_of, weigh_points

ROUNDING = 1e-12  # a square relative to the terms that add up to it: below, it is zero


@dataclass(frozen=True)
class LayerwiseDecomposition(Weighting):
    """The new task's gradient, projected so that the memory tasks' mean loss and differences are kept.

    Args:
        new: the place of the new task among the objectives, from 0; the others are the memory.
        components: k, the number of principal directions of the memory's specific gradients to stay across; there are
            at most m - 2.

    The weights (*points, m) are those of d, 1 for the new task; the memory's may be negative. The memory's losses
    themselves are not lowered: it suits a study of what is forgotten, not the search for a front. `Status`:
    "stationary" where the direction vanishes: the new task is at its minimum, or its whole gradient is in the
    memory's way. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite, or `new` is no objective.
    """

    new: int = 0
    components: int = 1

    confidence: ClassVar[Confidence] = "interpretation"
    uses_preference: ClassVar[bool] = False

    def __post_init__(self):
        for name in ("new", "components"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name}={value!r}: give a whole number of at least 0")

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        m = gramian.shape[-1]
        if self.new >= m:
            raise ValueError(f"LayerwiseDecomposition: new={self.new} is none of {m} losses; they are counted from 0")
        weights, status = weigh_points("LayerwiseDecomposition", gramian, self._weigh)
        return weights, state, status

    def _weigh(self, C: np.ndarray) -> tuple[np.ndarray, int]:
        m = len(C)
        memory = np.delete(np.arange(m), self.new)
        d, mean = np.zeros(m), np.zeros(m)
        d[self.new], mean[memory] = 1, 1 / (m - 1)
        for v in self._principal(C, memory):
            d, mean = d - (v @ C @ d) * v, mean - (v @ C @ mean) * v
        rate, squared = mean @ C @ d, mean @ C @ mean
        if rate < 0 and squared > ROUNDING * (np.abs(mean) @ np.abs(C) @ np.abs(mean)):
            d = d - rate / squared * mean
        return d, code_of(d, C)

    def _principal(self, C: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Return the weights of the principal directions, (k, m), of unit length."""
        specific = np.zeros((len(memory), len(C)))
        specific[:, memory] = np.eye(len(memory)) - 1 / len(memory)
        products = specific @ C @ specific.T
        squares, turns = np.linalg.eigh((products + products.T) / 2)
        largest = np.argsort(-squares)[: self.components]
        kept = largest[squares[largest] > ROUNDING * C[memory, memory].max()]
        return turns[:, kept].T @ specific / np.sqrt(squares[kept])[:, None]
