"""A walk along the front: from the weights of a point to those of the next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.finite import check_weights
from paretomtl.autograd.gradients import check_finite
from paretomtl.errors import NonFiniteError
from paretomtl.point import Code, Point
from paretomtl.preference import control_error
from paretomtl.solver import Gradients, Walker
from paretomtl.training.batches import Splits
from paretomtl.training.mean_losses import MeanLosses
from paretomtl.training.measuring import measure_splits
from paretomtl.training.outcome import TrainedPoint, failed_point, unmeasured_point
from paretomtl.training.seeds import MEASURING, reseed, seed_of
from paretomtl.training.study import Study
from paretomtl.training.weights import weights_of

FALL = 0.05  # share of the loss by which it falls from point to point, by default
REALISED = 0.5  # share of the predicted fall that a step must bring; else it is halved
SHORTEST = 1 / 16  # shortest step, as a share of the whole one; where it brings too little, the walk ends


class WalkStep(NamedTuple):
    """A step along the front.

    target: the parameters that it leads to; None where the front ends.
    products: Hessian-vector products that it took.
    relaxed: whether its linear solver, such as MINRES, stopped before it converged.
    """

    target: Float[Tensor, " n"] | None
    products: int
    relaxed: bool


class WalkRun:
    """A walk of one model.

    Args:
        study: the walk.
        splits: the problem's data, opened.
        start: the weights to start from.

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
        self._ahead: WalkStep | None = None  # the step from where the model stands; None before it is computed

    def go_to(self, weights: dict[str, Tensor]) -> None:
        """Move the model to weights; the step ahead is kept if it stands there already."""
        here = weights_of(self._model)
        if any(not torch.equal(here[name], weights[name]) for name in here):
            self._model.load_state_dict(weights)
            self._losses.move(self._losses.parameters)
            self._ahead = None

    def next(self, id: str, first: bool, final: bool) -> TrainedPoint:
        """Go to the next point, or stay for the first one; unless it is the final one, also check if the front ends.

        Where measuring fails, the point fails, and has its weights: it can be measured again.
        """
        pending, counts = Point(id, tuple(self._preference.tolist())), {}
        try:
            point = self._next_point(id, first, final, counts)
            check_weights(self._model)
            return TrainedPoint(self._measured(point), weights_of(self._model))
        except Exception as error:
            return TrainedPoint(failed_point(pending, error, None, counts, ()), None)

    def _next_point(self, id: str, first: bool, final: bool, counts: dict[str, int]) -> Point:
        """Compute the next point, without its measures; `counts` is filled on the way, for a point that fails."""
        steps = []
        if not first:
            steps.append(self._ahead or self._look_ahead())
            assert steps[0].target is not None
            self._losses.move(steps[0].target)
        before = self._losses.moves
        status = self._solver.finish(self._losses, None, self._preference)
        assert status is not None
        counts |= {"steps": len(steps), "corrections": self._losses.moves - before}
        code, warnings = Code(int(status.code)), []
        if code != Code.STATIONARY:
            warnings.append("not quite on the front: its corrections ended before its gradients cancelled out")
        weights = self._solver.weights(self._losses).tolist()
        self._ahead = None if final else self._look_ahead()
        if self._ahead is not None and self._ahead.target is None:
            steps.append(self._ahead)
            code = Code.ENDED
            warnings.append(self._end_warning(weights))
        counts |= {"products": sum(s.products for s in steps), "relaxed": sum(s.relaxed for s in steps)}
        return Point(
            id, tuple(weights), None, "done",
            status=code.word,
            residual=float(status.residual),
            counts=dict(counts),
            warnings=tuple(warnings),
        )  # fmt: skip

    def _measured(self, point: Point) -> Point:
        """Return a point with its measures; failed where measuring fails."""
        reseed(seed_of(0, 0, MEASURING))
        try:
            measures = measure_splits(self._study.problem, self._model, self._splits, self._study.device)
        except Exception as error:
            return unmeasured_point(point, error)
        off_ray = float(control_error(np.array(measures.losses["validate"]), np.array(point.preference)))
        return replace(point, **measures._asdict(), control_error=off_ray)

    def _look_ahead(self) -> WalkStep:
        """Return the step from here: as long as predicted for the fall, and halved until that fall comes."""
        before = self._losses.products
        gradients, r = self._gradients(), self._preference
        direction, _, status = self._solver.update(None, self._losses, r)
        slope = float(r.to(gradients.jacobian) @ (gradients.jacobian @ direction))
        value = float(r.to(gradients.losses) @ gradients.losses)
        target = self._longest_step(direction / slope, value) if slope > 0 else None
        return WalkStep(target, self._losses.products - before, bool(status.code == Code.RELAXED))

    def _longest_step(self, unit: Float[Tensor, " n"], value: float) -> Float[Tensor, " n"] | None:
        """Return where the longest step leads that brings half of its predicted fall; None if even the shortest fails.

        Args:
            unit: the step whose predicted fall is 1.
            value: what is to fall, here.
        """
        here, share = self._losses.parameters, 1.0
        while share >= SHORTEST:
            fall = share * self._whole_fall(value)
            target = self._losses.within(here - fall * unit)
            losses = self._losses(target)
            if fall > 0 and value - float(self._preference.to(losses) @ losses) >= REALISED * fall:
                return target
            share /= 2
        return None

    def _whole_fall(self, value: float) -> float:
        """Return the fall of a whole step from a value."""
        assert self._study.walk is not None
        return FALL * abs(value) if self._study.walk.by is None else self._study.walk.by

    def _gradients(self) -> Gradients:
        """Return the losses and gradients here; raise where one is not finite."""
        gradients = self._losses.gradients()
        check_finite(gradients.losses, self._names)
        check_finite(gradients.jacobian.norm(dim=1), self._names, before="the gradient of ")
        return gradients

    def _end_warning(self, weights: Sequence[float]) -> str:
        losses = self._losses.gradients().losses
        value = float(self._preference.to(losses) @ losses)
        shown = " and ".join(f"{w:.3g} of {name!r}" for name, w in zip(self._names, weights, strict=True))
        return (
            f"the walk ends: what was asked to fall is {value:.3g} on train, and no step lowers it by "
            f"{SHORTEST * self._whole_fall(value):.2g}. The weights are {shown}: where these are about what was asked "
            "for, the front ends; elsewhere a smaller by= may lead on"
        )
