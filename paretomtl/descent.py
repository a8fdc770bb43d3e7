"""`Descent`: a method as a drop-in for `backward`, in a training loop of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.autograd.finite import has_finite_gradients
from paretomtl.autograd.gradients import StepResult, check_clip, descend, follow, leaf_parameters
from paretomtl.autograd.labels import LabelCounts, is_linear
from paretomtl.autograd.loss_function import BatchLosses
from paretomtl.autograd.units import convert, units_of
from paretomtl.errors import NonFiniteError
from paretomtl.normalisation import Normalisation
from paretomtl.point import Code
from paretomtl.preference import normalise
from paretomtl.solver import Solver, Status, Stepper, Sweep, solved_status

NamedLosses = Mapping[str, Tensor | None]


class Descent:
    """Replaces `loss.backward()` in a training loop of one's own.

        step = pm.Descent(ps.EPO(), preference={"left": 0.3, "right": 0.7})
        optimizer.zero_grad()
        status = step.backward({"left": left, "right": right})
        optimizer.step()

    A loss may lack its label (None) with `Linear` alone. Other methods weigh the losses against each other: keep the
    losses of several batches until every one has a label, and call `backward` once.

    Args:
        solver: the method.
        preference: how much each loss matters, by name; the names fix the order.
        preferences: all preferences of the study, for methods that need them (Pareto-MTL); each by name, and
            `preference` among them.
        steps: the number of steps of the training, for methods that need it (Pareto-MTL).
        clip: the largest norm of each loss's gradient on the shared parameters.
        scaler: a `torch.amp.GradScaler`. Give `backward` plain losses, then call `scaler.step(optimizer)` and
            `scaler.update()`.
        seed: the seed of methods that sample.
        scales: what there is to gain in each loss, by name: its worst less its best, as far as known. The method
            gets the losses divided by it, and those that measure from an ideal get them from `ideals` on; so a
            preference means the same whatever the losses' scale. The `normalisation` of a front has both.
        ideals: the best of each loss, by name; 0 by default. With both, a loss beyond its worst counts as that.
        model: the model, for methods that name modules of it (`at="trunk"`).

    Attributes:
        learned: numbers that the method learns (`UW`), for the optimizer: `Adam([*model.parameters(), *step.learned])`.
    """

    def __init__(
        self,
        solver: Solver,
        preference: Mapping[str, float],
        *,
        preferences: Sequence[Mapping[str, float]] | None = None,
        steps: int = 1,
        clip: float | None = None,
        scaler: Any = None,
        seed: int = 0,
        scales: Mapping[str, float] | None = None,
        ideals: Mapping[str, float] | None = None,
        model: nn.Module | None = None,
    ):
        if not isinstance(solver, Solver):
            raise TypeError(f"solver={solver!r} is not a Solver; give an instance, such as EPO()")
        if not isinstance(preference, Mapping):
            raise TypeError(f"preference={preference!r}: give a dict of a number for each loss, by its name")
        check_clip(solver, clip)
        if scaler is not None and isinstance(solver, Stepper):
            raise TypeError(f"{type(solver).__name__} asks for the losses elsewhere, which knows no scaler")
        self.names = tuple(preference)
        normalisation = self._read_range(scales, ideals)
        self.solver = solver if normalisation is None else solver.normalised(normalisation)
        self._units = None if normalisation is None else units_of(solver, normalisation, deterministic=False)
        if self._units is not None and (scales is None or ideals is None):  # no nadir is known
            self._units = replace(self._units, ceiling=None)
        self.clip, self.scaler = clip, scaler
        self._preference = self._to_row(preference, "preference")
        rows = [self._to_row(p, f"preferences[{k}]") for k, p in enumerate(preferences or [preference])]
        matches = [k for k, row in enumerate(rows) if torch.allclose(row, self._preference, rtol=0, atol=1e-12)]
        if not matches:
            raise ValueError(f"preference={dict(preference)} is not one of the preferences given")
        generator = torch.Generator().manual_seed(seed)
        sweep = Sweep(torch.stack(rows), torch.tensor(matches[0]), steps, deterministic=False, generators=(generator,))
        self.state = solver.init(sweep)
        self.learned: list[Tensor] = [self.state.requires_grad_()] if solver.learned else []
        self._model, self._is_seen = model, True
        self._labels = LabelCounts(len(self.names))

    def backward(self, losses: NamedLosses | Callable[[], NamedLosses]) -> Status:
        """Add the method's direction to the parameters' `.grad`, as `backward` adds a gradient.

        Args:
            losses: scalars by name; None for a missing label. For a `Stepper`, a function that computes them anew.

        Raises:
            ValueError: a label is missing, and the method weighs the losses against each other.
            NonFiniteError: a loss or a gradient is NaN or infinite. With a scaler, a gradient that overflows raises
                nothing: the status is "skipped", and the scaler skips the optimizer's step.
        """
        if isinstance(self.solver, Stepper) and not callable(losses):
            raise TypeError(
                f"{type(self.solver).__name__} asks for the losses elsewhere; give a function that computes them, "
                "such as `lambda: losses(model, batch)`"
            )
        if callable(losses) and not isinstance(self.solver, Stepper):
            raise TypeError(f"{type(self.solver).__name__} takes the losses themselves, not a function")
        if not self._is_seen:
            raise ValueError(
                f"{type(self.solver).__name__} looks at the batch once more after each step; call observe(losses), "
                "with the same batch's losses, after optimizer.step()"
            )
        present = self._select_present(losses() if callable(losses) else losses)
        labels = [self.names.index(name) for name in present]
        if len(present) < len(self.names) and not is_linear(self.solver):
            missing = [name for name in self.names if name not in present]
            raise ValueError(
                f"losses: there is no label of {missing}, and {type(self.solver).__name__} weighs the losses against "
                "each other; keep the losses of several batches until each is there, and call backward once for all "
                "of them; or use Linear"
            )
        r = self._labels.shares(self.solver, self._preference, labels)
        if not r.any():  # none of the present labels matters
            self._labels.add(labels)
            return solved_status(r)
        parameters = leaf_parameters(list(present.values()))
        if callable(losses):
            result = self._follow(losses, present, r, parameters)
        else:
            result = self._descend(present, r, parameters)
        if result is None or not has_finite_gradients(parameters):
            if self.scaler is None:
                bad = next(p for p in parameters if not has_finite_gradients([p]))
                raise NonFiniteError(f"nan or inf in the gradient of a parameter of shape {tuple(bad.shape)}")
            return Status(torch.tensor(int(Code.SKIPPED)), torch.zeros((), dtype=torch.float64))
        self.state = result.state
        self._is_seen = not self.solver.observes
        self._labels.add(labels)
        return result.status

    def observe(self, losses: NamedLosses) -> None:
        """Show the method the same batch's losses after the optimizer's step, for methods that observe (`FAMO`)."""
        present = self._select_present(losses, with_gradient=False)
        self.state = self.solver.observe(self.state, torch.stack(self._convert(present)).detach())
        self._is_seen = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs: the method, the preference and the state, as tensors, numbers and text."""
        seen, batches = self._labels.checkpoint()
        return {
            "solver": repr(self.solver),
            "preference": self._by_name(),
            "units": repr(self._units),
            "state": _to_plain(self.state),
            "labels": [seen.tolist(), batches],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: `saved` belongs to another method or preference.
        """
        own = {"solver": repr(self.solver), "preference": self._by_name(), "units": repr(self._units)}
        for key, value in own.items():
            if saved.get(key, repr(None)) != value:  # 0.2 knew no units
                raise ValueError(
                    f"the saved {key} is {saved.get(key)}, this one's {value}; build the same Descent first"
                )
        if self.learned:  # the optimizer holds this very tensor
            with torch.no_grad():
                self.learned[0].copy_(saved["state"])
        else:
            self.state = _restore_like(self.state, saved["state"])
        if "labels" in saved:  # 0.2 did not save them
            seen, batches = saved["labels"]
            self._labels.restore((np.array(seen), batches))

    def _descend(self, present: dict[str, Tensor], r: Tensor, parameters: list[Tensor]) -> StepResult | None:
        """Return the solver's answer; None where a gradient overflowed, which an infinite `.grad` shows the scaler."""
        names, losses = list(present), self._convert(present)
        scale = 1.0 if self.scaler is None else float(self.scaler.scale(torch.ones((), device=losses[0].device)))
        try:
            return descend(self.solver, self.state, losses, r, parameters, names, clip=self.clip, scale=scale)
        except NonFiniteError:
            if self.scaler is None or not all(loss.isfinite() for loss in losses):
                raise
            parameters[0].grad = torch.full_like(parameters[0], torch.inf)
            return None

    def _follow(
        self, losses: Callable[[], NamedLosses], present: dict[str, Tensor], r: Tensor, parameters: list[Tensor]
    ) -> StepResult:
        def evaluate() -> list[Tensor]:
            return self._convert(self._select_present(losses(), with_gradient=torch.is_grad_enabled()))

        buffers = [] if self._model is None else list(self._model.buffers())
        closure = BatchLosses(evaluate, parameters, squared=_no_samples, buffers=buffers, model=self._model)
        names = list(present)
        return follow(self.solver, self.state, closure, self._convert(present), r, parameters, names)  # type: ignore[arg-type]

    def _convert(self, present: Mapping[str, Tensor]) -> list[Tensor]:
        """Return losses in the units of the method."""
        return convert({self.names.index(name): loss for name, loss in present.items()}, self._units)

    def _read_range(
        self, scales: Mapping[str, float] | None, ideals: Mapping[str, float] | None
    ) -> Normalisation | None:
        if scales is None and ideals is None:
            return None
        rows = []
        for what, given, default in (("scales", scales, 1.0), ("ideals", ideals, 0.0)):
            given = dict.fromkeys(self.names, default) if given is None else given
            if not isinstance(given, Mapping) or set(given) != set(self.names):
                raise ValueError(f"{what}={given!r}: give a number for each of {list(self.names)}")
            row = np.array([given[name] for name in self.names], dtype=np.float64)
            if not np.isfinite(row).all() or (what == "scales" and (row <= 0).any()):
                kind = "positive" if what == "scales" else "finite"
                raise ValueError(f"{what}={dict(given)}: give a {kind} number for each loss")
            rows.append(row)
        return Normalisation(tuple(rows[1].tolist()), tuple((rows[1] + rows[0]).tolist()))

    def _select_present(self, losses: Any, with_gradient: bool = True) -> dict[str, Tensor]:
        """Return the losses that are not None, in the order of the names."""
        if not isinstance(losses, Mapping) or set(losses) != set(self.names):
            got = sorted(map(str, losses)) if isinstance(losses, Mapping) else type(losses).__name__
            raise ValueError(f"losses={got}; give a dict with the keys {list(self.names)}")
        present = {name: losses[name] for name in self.names if losses[name] is not None}
        for name, loss in present.items():
            if not isinstance(loss, Tensor) or loss.ndim or (with_gradient and not loss.requires_grad):
                raise ValueError(f"loss {name!r} is not a 0-dimensional tensor with a gradient: {loss!r}")
        if not present:
            raise ValueError(f"losses: every one of {list(self.names)} is None; there is nothing to learn from")
        return present

    def _to_row(self, preference: Mapping[str, float], where: str) -> Tensor:
        if set(preference) != set(self.names):
            raise ValueError(f"{where} has the keys {sorted(map(str, preference))}; give {list(self.names)}")
        row = np.array([preference[name] for name in self.names], dtype=np.float64)
        return torch.from_numpy(normalise(row, len(self.names), where))

    def _by_name(self) -> dict[str, float]:
        return dict(zip(self.names, self._preference.tolist(), strict=True))


def _no_samples() -> Tensor:
    raise ValueError("the samples are not known here: a function of no argument gives only their mean losses")


def _to_plain(state: Any) -> Any:
    """Return a state as tensors, numbers and lists, which `torch.load(weights_only=True)` reads."""
    if isinstance(state, tuple):
        return [_to_plain(part) for part in state]
    return state.detach().clone() if isinstance(state, Tensor) else state


def _restore_like(state: Any, saved: Any) -> Any:
    """Return a saved state in the form of a present one."""
    if isinstance(state, tuple):
        parts = [_restore_like(part, other) for part, other in zip(state, saved, strict=True)]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return saved.clone() if isinstance(saved, Tensor) else saved
