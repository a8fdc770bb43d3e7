"""One way along the front: from the weights of a point to those of the next."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.gradients import check_finite
from paretomtl.errors import NonFiniteError
from paretomtl.point import Code, Point
from paretomtl.preference import control_error
from paretomtl.solver import Gradients, Walker
from paretomtl.training.loop import Splits, TrainedPoint, failed_point, weights_of
from paretomtl.training.mean_losses import MeanLosses
from paretomtl.training.measuring import measure_splits
from paretomtl.training.seeds import MEASURING, reseed, seed_of
from paretomtl.training.study import Study

BY = 0.05  # of the loss, from point to point, where nothing else is asked
HALF = 0.5  # of the fall that was predicted must come; else the step is halved
SHORTEST = 1 / 16  # of what is asked for; where not even that comes, the walk ends


class WalkStep(NamedTuple):
    """Along the front: where it leads (None where it ends), what it cost, and whether MINRES or its like converged."""

    there: Float[Tensor, " n"] | None
    products: int
    relaxed: bool


class WalkRun:
    """A model on its way.

    Args:
        study: what is asked for.
        splits: the problem's data, opened.
        start: weights.

    Raises:
        ValueError: a loss or a gradient is not finite at the start, or can never be measured.
    """

    def __init__(self, study: Study, splits: Splits, start: dict[str, Tensor]):
        self._study, self._splits, self._names = study, splits, study.problem.names
        self._solver: Walker = study.solver  # type: ignore[assignment]
        self._preference = torch.tensor(study.preferences[0])
        self._model = study.problem.model().to(study.device).eval()
        self._model.load_state_dict(start)
        assert study.walk is not None
        train = splits.get("train")
        self._losses = MeanLosses(study.problem, self._model, train, study.device, study.walk.hessian_batches)
        try:
            self._gradients()
        except NonFiniteError as error:
            raise ValueError(f"model: {error} on train; give one whose losses and gradients are finite") from error
        self._ahead: WalkStep | None = None  # from where the model stands, where it was looked for

    def go_to(self, weights: dict[str, Tensor]) -> None:
        """Stand there; where the model stands there already, what is known of the way ahead is kept."""
        here = weights_of(self._model)
        if any(not torch.equal(here[name], weights[name]) for name in here):
            self._model.load_state_dict(weights)
            self._losses.move(self._losses.parameters)
            self._ahead = None

    def next(self, id: str, first: bool, final: bool) -> TrainedPoint:
        """Go to the next point, or stay for the first one; unless it is the final one, see if the way ends there."""
        asked, counts = Point(id, tuple(self._preference.tolist())), {}
        try:
            return TrainedPoint(self._found(id, first, final, counts), weights_of(self._model))
        except Exception as error:
            return TrainedPoint(failed_point(asked, error, None, counts, ()), None)

    def _found(self, id: str, first: bool, final: bool, counts: dict[str, int]) -> Point:
        """The next point; what it took is counted on the way."""
        steps = []
        if not first:
            steps.append(self._ahead or self._look_ahead())
            assert steps[0].there is not None
            self._losses.move(steps[0].there)
        before = self._losses.moves
        status = self._solver.finish(self._losses, None, self._preference)
        assert status is not None
        counts |= {"steps": len(steps), "corrections": self._losses.moves - before}
        code, warnings = Code(int(status.code)), []
        if code != Code.STATIONARY:
            warnings.append("not quite on the front: its corrections ended before its gradients cancelled out")
        weights = self._solver.weights(self._losses).tolist()
        self._ahead = None if final else self._look_ahead()
        if self._ahead is not None and self._ahead.there is None:
            steps.append(self._ahead)
            code = Code.ENDED
            warnings.append(self._why_it_ends(weights))
        counts |= {"products": sum(s.products for s in steps), "relaxed": sum(s.relaxed for s in steps)}
        reseed(seed_of(0, 0, MEASURING))
        found = measure_splits(self._study.problem, self._model, self._splits, self._study.device)
        return Point(
            id, tuple(weights), None, "done",
            **found._asdict(),
            control_error=float(control_error(np.array(found.losses["validate"]), np.array(weights))),
            status=code.word,
            residual=float(status.residual),
            counts=dict(counts),
            warnings=tuple(warnings),
        )  # fmt: skip

    def _look_ahead(self) -> WalkStep:
        """The step from here: as long as its prediction says, and halved until the fall that it predicts comes."""
        before = self._losses.products
        found, r = self._gradients(), self._preference
        direction, _, status = self._solver.update(None, self._losses, r)
        slope = float(r.to(found.jacobian) @ (found.jacobian @ direction))
        there = self._tried(direction / slope, float(r.to(found.losses) @ found.losses)) if slope > 0 else None
        return WalkStep(there, self._losses.products - before, bool(status.code == Code.RELAXED))

    def _tried(self, unit: Float[Tensor, " n"], value: float) -> Float[Tensor, " n"] | None:
        """The longest step in units of predicted fall that brings half of it; None where not even the shortest does."""
        here, share = self._losses.parameters, 1.0
        while share >= SHORTEST:
            fall = share * self._asked(value)
            there = self._losses.within(here - fall * unit)
            losses = self._losses(there)
            if fall > 0 and value - float(self._preference.to(losses) @ losses) >= HALF * fall:
                return there
            share /= 2
        return None

    def _asked(self, value: float) -> float:
        """How much what is asked for is to fall, from a value on."""
        assert self._study.walk is not None
        return BY * abs(value) if self._study.walk.by is None else self._study.walk.by

    def _gradients(self) -> Gradients:
        """Losses and gradients here, which must be finite."""
        found = self._losses.gradients()
        check_finite(found.losses, self._names)
        check_finite(found.jacobian.norm(dim=1), self._names, before="the gradient of ")
        return found

    def _why_it_ends(self, weights: Sequence[float]) -> str:
        losses = self._losses.gradients().losses
        value = float(self._preference.to(losses) @ losses)
        shown = " and ".join(f"{w:.3g} of {name!r}" for name, w in zip(self._names, weights, strict=True))
        return (
            f"the walk ends: what was asked to fall is {value:.3g} on train, and no step lowers it by "
            f"{SHORTEST * self._asked(value):.2g}. The weights are {shown}: where these are about what was asked for, "
            "the front ends; elsewhere a smaller by= may lead on"
        )
