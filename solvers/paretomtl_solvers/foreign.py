"""Methods of TorchJD as methods of this library, for studies, fleets and `pm.Descent`.

TorchJD's methods are `nn.Module`s that see one Jacobian, one Gramian or one vector of losses, and no preference. Each
becomes a method of the class that sees the same; several points are handed to it one after the other.
"""

import inspect
import re
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.errors import NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Aggregation, Scalarization, Solver, Status, Weighting, solved_status
from paretomtl_solvers import qp

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def from_torchjd(method: nn.Module) -> Solver:
    """Return a method of TorchJD as one of ours: an `Aggregation`, a `Weighting` or a `Scalarization`.

    It holds a copy of `method`, so that no later change of that changes a study. It goes to one point whatever the
    preference is; a preference that TorchJD knows, as in `UPGrad(pref_vector=…)`, belongs to the method. A method that
    draws, such as `PCGrad`, draws from torch's global generator, which a study seeds for every point; the points of a
    fleet share it, so there they end elsewhere than alone.

    Args:
        method: an aggregator; a weighting, which is called with the Gramian; or a scalarizer, whose gradient with
            respect to the losses is their weights.

    Raises:
        ImportError: TorchJD is not installed.
        TypeError: `method` is none of these; or it keeps a state or trained parameters from step to step, which no
            checkpoint would hold.
    """
    try:
        torchjd, aggregation, scalarization = (
            import_module(name) for name in ("torchjd", "torchjd.aggregation", "torchjd.scalarization")
        )
    except ImportError as error:
        raise ImportError("from_torchjd needs torchjd: pip install 'paretomtl[torchjd]'") from error
    kinds: dict[type, type[_Foreign]] = {
        aggregation.Aggregator: ForeignAggregation,
        aggregation.Weighting: ForeignWeighting,
        scalarization.Scalarizer: ForeignScalarization,
    }
    kind = next((ours for theirs, ours in kinds.items() if isinstance(method, theirs)), None)
    if kind is None:
        raise TypeError(
            f"from_torchjd({method!r}): give an aggregator, a weighting or a scalarizer of TorchJD, such as UPGrad()"
        )
    stateful = any(isinstance(part, torchjd.Stateful) for part in method.modules())
    if stateful or any(parameter.requires_grad for parameter in method.parameters()):
        raise TypeError(
            f"from_torchjd({type(method).__name__}): it keeps a state of its own from step to step, which no "
            "checkpoint of a study would hold; `paretomtl methods` may list ours of that name"
        )
    return kind(deepcopy(method))


@dataclass(frozen=True, repr=False, eq=False)
class _Foreign(Solver):
    """What the three share: a method of TorchJD, known by how it is written."""

    method: nn.Module

    uses_preference: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"from_torchjd({_write(self.method)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def _call(self, each: Tensor, like: Tensor) -> Tensor:
        """Return what the method makes of one point, in its dtype and on its device."""
        answer = self.method(each.to(like))
        if not answer.isfinite().all():
            raise NonFiniteError(f"the answer of {self!r} to {each.tolist()} is not finite")
        return answer.detach()


class ForeignAggregation(_Foreign, Aggregation):
    """A direction from an aggregator of TorchJD.

    The direction (*points, n) is TorchJD's. `Status`: "stationary" where it vanishes; the residual is 0.

    Raises:
        ValueError: the Jacobian is not finite.
        NonFiniteError: TorchJD's answer is not finite.
    """

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Any, Status]:
        """Return the direction, the unchanged state and the status."""
        _check_finite(self, Jacobian=jacobian)
        rows = jacobian.detach().reshape(-1, *jacobian.shape[-2:])
        with torch.no_grad():
            direction = torch.stack([self._call(each, jacobian) for each in rows])
        direction = direction.reshape(*jacobian.shape[:-2], -1)
        longest = torch.linalg.vector_norm(jacobian.detach(), dim=-1).amax(dim=-1)
        vanishes = torch.linalg.vector_norm(direction, dim=-1) <= qp.VANISHED * longest
        return direction, state, _status(losses, vanishes)


class ForeignWeighting(_Foreign, Weighting):
    """Weights of the gradients from a weighting of TorchJD.

    The weights (*points, m) are TorchJD's, from the Gramian in the losses' dtype. `Status`: "stationary" where their
    direction vanishes; the residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
        NonFiniteError: TorchJD's answer is not finite.
    """

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        _check_finite(self, Gramian=gramian)
        C = gramian.detach().reshape(-1, *gramian.shape[-2:])
        with torch.no_grad():
            weights = torch.stack([self._call(each, losses) for each in C]).to(gramian).reshape(losses.shape)
        vanishes = qp.vanishes(weights.cpu().numpy(), gramian.detach().cpu().numpy())
        return weights, state, _status(losses, torch.as_tensor(vanishes))


class ForeignScalarization(_Foreign, Scalarization):
    """Weights of the losses from a scalarizer of TorchJD.

    The weights (*points, m) are its gradient with respect to the losses. `Status`: "solved", with residual 0.

    Raises:
        ValueError: the losses are not finite.
        NonFiniteError: the gradient is not finite.
    """

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        _check_finite(self, losses=losses)
        with torch.enable_grad():
            leaf = losses.detach().clone().requires_grad_()
            value = torch.stack([self.method(each) for each in leaf.reshape(-1, leaf.shape[-1])]).sum()
            (weights,) = torch.autograd.grad(value, leaf)
        if not weights.isfinite().all():
            raise NonFiniteError(f"the gradient of {self!r} at the losses {losses.tolist()} is not finite")
        return weights, state, solved_status(losses)


def _check_finite(method: Solver, **tensors: Tensor) -> None:
    qp.check_finite_gramian(repr(method), **{name: x.detach().cpu().numpy() for name, x in tensors.items()})


def _status(losses: Tensor, vanishes: Tensor) -> Status:
    """Return "stationary" where the direction vanishes, else "solved"."""
    solved = solved_status(losses)
    return solved._replace(code=torch.where(vanishes.cpu(), int(Code.STATIONARY), solved.code))


def _write(value: Any) -> str:
    """Write a method of TorchJD as the call that makes it; a class of unknown arguments with all that it holds."""
    if isinstance(value, Tensor):
        return repr(value.tolist())
    if inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    if not isinstance(value, nn.Module):
        return ADDRESS.sub("", repr(value))
    public = [part for part in type(value).__module__.split(".") if not part.startswith("_")]
    names = inspect.signature(type(value)).parameters
    if not all(hasattr(value, name) for name in names):
        names = sorted((vars(value).keys() - vars(nn.Module()).keys()) | value._buffers.keys() | value._modules.keys())
    arguments = ", ".join(f"{name}={_write(getattr(value, name))}" for name in names)
    return f"{'.'.join(public)}.{type(value).__qualname__}({arguments})"
