"""UW: uncertainty weighting by learned variances of the tasks' noise (Kendall et al., CVPR 2018).

With s_i = log sigma_i^2, trained by the model's own optimizer, the objective is the sum over the losses of

    regression:      (e^(-s_i) l_i + s_i) / 2,    with its minimum where e^(s_i) = l_i
    classification:  e^(-s_i) l_i + s_i / 2,      with its minimum where e^(s_i) = 2 l_i

At that minimum a loss weighs 1 / (2 l_i), as in the sum of the losses' logarithms over 2: the optimum ignores the
losses' scales. The preference is ours; it multiplies a loss's whole term by m r_i.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers import learned
from paretomtl_solvers.losses import factors_of, read_losses

Kind = Literal["regression", "classification"]


@dataclass(frozen=True)
class UW(Scalarization):
    """Losses divided by the variance of their noise, which the optimizer learns along with the model.

    Args:
        kind: how a loss's noise enters: "regression" for squared errors, "classification" for cross-entropies; one for
            all losses, or one a loss.

    The state s (*points, m) is 0 at first and belongs into the model's optimizer; in a loop of your own it is
    `Descent(…).learned`. Weight decay there draws s to 0. The weights (*points, m) are m r_i e^(-s_i) / 2, or without
    the half for classification. At the even preference the method is as published.

    Raises:
        ValueError: there is not one kind a loss, or a loss is negative, which lets s fall for ever, or not finite.
    """

    kind: Kind | tuple[Kind, ...] = "regression"

    stateful: ClassVar[bool] = True
    learned: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        for kind in (self.kind,) if isinstance(self.kind, str) else self.kind:
            if kind not in get_args(Kind):
                raise ValueError(f"kind={kind!r} is not one of {', '.join(get_args(Kind))}")

    @property
    def nonnegative(self) -> bool:
        """True: e^s follows the loss."""
        return True

    def init(self, sweep: Sweep) -> Float[Tensor, "*points m"]:
        """Return s = 0."""
        return learned.start(sweep)

    def update(
        self,
        state: Float[Tensor, "*points m"] | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Float[Tensor, "*points m"] | None, Status]:
        """Return the weights, the state, whose gradient is set, and "solved"."""
        l = read_losses("UW", losses, "nonnegative")
        precision = self._shares(l) * (-learned.read(state, l)).exp()
        factors = factors_of(preference, l)
        learned.set_gradient(state, factors * (0.5 - precision * l))
        return factors * precision, state, solved_status(losses)

    def _shares(self, losses: Tensor) -> Tensor:
        """Return each loss's factor of e^(-s) in the objective: 1/2 or 1."""
        m = losses.shape[-1]
        kinds = (self.kind,) * m if isinstance(self.kind, str) else self.kind
        if len(kinds) != m:
            raise ValueError(f"UW: kind={self.kind} has {len(kinds)} kinds for {m} losses; give one, or one a loss")
        return losses.new_tensor([0.5 if kind == "regression" else 1.0 for kind in kinds])
