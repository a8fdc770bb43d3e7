"""FAMO: fast adaptive multitask optimization, all losses falling at one rate (Liu et al., NeurIPS 2023).

With z = softmax(x) and D_i = l_i - ideal_i + 1e-8, a step goes along the gradient of

    sum_i z_i log D_i / c,  c = sum_i z_i / D_i held fixed

After the step, the same batch's new losses D' say how much each logarithm fell, and x descends along

    (diag(z) - z z') (log D - log D')

by an Adam of its own: the loss that fell less gains weight. It takes one backward pass and one more pass forward.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers import adam
from paretomtl_solvers.losses import check_sign
from paretomtl_solvers.tchebycheff import subtract_ideal

TINY = 1e-8  # in D


class Logits(NamedTuple):
    """State: x in its optimizer, and D at the last step; None before the first."""

    optimizer: adam.Adam
    seen: Float[Tensor, "*points m"] | None


@dataclass(frozen=True)
class FAMO(Scalarization):
    """Weights with which all losses fall at one relative rate, adapted by what each step achieved.

    Args:
        learning_rate: that of x, in Adam.
        gamma: the weight decay of x, which draws the weights of the logarithms to even. The released class has 0.01.
        ideal: the least that each loss can be, in its units; by default 0.

    The weights (*points, m) are z_i / (D_i c), on the simplex. The method sets them by the losses' progress, against
    any preference, and takes none.

    Raises:
        ValueError: a loss is not above the ideal less 1e-8, or not finite.
    """

    learning_rate: float = 0.025
    gamma: float = 1e-3
    ideal: tuple[float, ...] | None = None

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    observes: ClassVar[bool] = True
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    needs: ClassVar[str] = "losses above its ideal, 0 by default"
    cost: ClassVar[str] = "1 backward pass, 1 more pass forward"

    def __post_init__(self):
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate={self.learning_rate!r}: give a positive number")
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma={self.gamma!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True where the ideal is 0: the losses must not fall below it, which can then be checked."""
        return self.ideal is None

    def normalised(self, normalisation: Normalisation) -> "FAMO":
        """Return the method with its ideal in normalised losses; none stays none, the ideal of the normalisation."""
        return replace(self, ideal=self.ideal and normalisation.convert(self.ideal))

    def init(self, sweep: Sweep) -> Logits:
        """Return x = 0."""
        zeros = torch.zeros(*sweep.points.shape, sweep.preferences.shape[-1], dtype=torch.float64)
        return Logits(adam.start(zeros), None)

    def update(
        self,
        state: Logits | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Logits, Status]:
        """Return the weights, the state that waits for `observe`, and "solved"."""
        above = self._above_ideal(losses)
        state = Logits(adam.start(torch.zeros_like(above)), None) if state is None else state
        shares = state.optimizer.values.to(above.device).softmax(dim=-1) / above
        return shares / shares.sum(dim=-1, keepdim=True), state._replace(seen=above), solved_status(losses)

    def observe(self, state: Logits, losses: Float[Tensor, "*points m"]) -> Logits:
        """Return the state with x moved by how much each loss's logarithm fell."""
        if state.seen is None:
            raise ValueError("FAMO: there was no step yet to observe; call update first")
        optimizer = adam.Adam(*(part.to(losses.device) for part in state.optimizer))
        fell = state.seen.to(losses.device).log() - self._above_ideal(losses).log()
        z = optimizer.values.softmax(dim=-1)
        gradient = z * (fell - (z * fell).sum(dim=-1, keepdim=True))
        return Logits(adam.step(optimizer, gradient, self.learning_rate, self.gamma), None)

    def _above_ideal(self, losses: Tensor) -> Tensor:
        above = subtract_ideal("FAMO", losses.detach(), self.ideal) + TINY
        check_sign("FAMO", above, "positive", "the distance above its ideal of loss")
        return above
