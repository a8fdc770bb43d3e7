"""RotoGrad: gradient homogenisation at a shared representation (Javaloy and Valera, ICLR 2022).

With z the shared representation and U_k the gradient of loss k at z over the batch, there are two steps:

    magnitude: dz = C sum_k U_k / |U_k|,    C = sum_k a_k |U_k|,    a_k proportional to |U_k| / |U_k at t_0|
    rotation:  R_k in SO(d) takes a step down |R v - R_k U_k|^2 as a function of R, v the mean of the U_j / |U_j|

Head k sees R_k z in place of z. R_k is the exponential of a skew matrix, trained by an Adam of its own.

Here a rotation is folded into the first weights of its head, so that the model stays the plain one: where a head's
first layer computes V z, the published form computes W R z, with V = W R. A step from R to Q is V <- V R^T Q; the
gradient of V, taken before, is turned in the same way. What the head computes is then what it would compute with z
rotated, and plain SGD on V takes the steps of SGD on W exactly, weight decay included.
An optimizer with momentum holds moments of V, which do not turn with it; the published form's are of W. As rotations
are slow, the two stay close.

Ours are: the preference; the unit gradients in the rotations' objective, so that their learning rate does not depend
on the losses' scale (the minimiser is the same, as rotations keep lengths); and rotations that start at the identity.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Location, Status, Stepper, Sweep, status_of
from paretomtl_solvers import adam
from paretomtl_solvers.representations import check_at, check_heads, combined, locate_kernels


class Rotations(NamedTuple):
    """The entries of the heads' skew matrices below the diagonal, end to end, with Adam's moments, in float64.

    None before the first step, as are the gradients' norms at t_0, (m,).
    """

    values: Float[Tensor, " k"] | None = None
    mean: Float[Tensor, " k"] | None = None
    square: Float[Tensor, " k"] | None = None
    steps: Int[Tensor, " 1"] | None = None
    norms: Float[Tensor, " m"] | None = None

    @property
    def moments(self) -> adam.Adam:
        """The numbers and their moments."""
        assert self.values is not None
        assert self.mean is not None
        assert self.square is not None
        assert self.steps is not None
        return adam.Adam(self.values, self.mean, self.square, self.steps)


@dataclass(frozen=True)
class RotoGrad(Stepper):
    """Gradients of one length at a representation, and a rotation for each head that turns them towards one another.

    Args:
        at: the name of the module whose output is the representation (…, d), such as "trunk".
        heads: for each loss, in order, the name of the linear module that begins its head, such as ("left", "right");
            it takes that output itself, with nothing in between, and is all of the loss that sees it.
        size: how many of the d numbers rotate, the first ones; None: all. A step costs m matrix exponentials of it.
        learning_rate: of the rotations' Adam, in radians; best below that of the parameters.
        decay: the factor of the learning rate a step, in (0, 1].
        burn_in: the step, counted from 0, whose norms are the reference t_0; before it, those of the first step are.

    The direction (n,) is m C sum_k r_k U_k / |U_k| through the encoder, the published one at an even preference, and
    the plain gradients of the heads. `update` itself turns the heads' first weights; so call it once a step of the
    optimizer. `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: the model has no such modules, they do not fit one another or the losses, or a gradient is not
            finite.
    """

    at: str
    heads: tuple[str, ...]
    size: int | None = None
    learning_rate: float = 1e-3
    decay: float = 0.99999
    burn_in: int = 20

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    cost: ClassVar[str] = "m backward passes through the heads, 1 through the encoder; m matrix exponentials"

    def __post_init__(self):
        check_at(self.at)
        check_heads(self.heads)
        if self.size is not None and (not isinstance(self.size, int) or self.size < 2):
            raise ValueError(f"size={self.size!r}: give a whole number of at least 2, or None for all")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate={self.learning_rate!r}: give a positive number")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay={self.decay!r}: give a number in (0, 1]")
        if not isinstance(self.burn_in, int) or self.burn_in < 0:
            raise ValueError(f"burn_in={self.burn_in!r}: give a number of steps, 0 or more")

    def init(self, sweep: Sweep) -> Rotations:
        """Return the state before the first step."""
        del sweep
        return Rotations()

    def update(
        self, state: Rotations | None, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Rotations, Status]:
        """Turn the heads' first weights, and return the direction, the next state and the status."""
        rotations = Rotations() if state is None else state
        kernels = locate_kernels(closure, self.heads, len(preference))
        seen: list[tuple[Tensor, Tensor]] = []
        r = preference.double()

        def combine(losses: Tensor, output: Tensor, gradients: Tensor) -> Tensor:
            nonlocal rotations
            if not gradients.isfinite().all():
                raise ValueError("RotoGrad: a gradient at the representation is not finite")
            norms = gradients.reshape(len(losses), -1).double().norm(dim=1)
            rotations = self._start(rotations, norms, output.shape)
            assert rotations.norms is not None
            seen.append((output, gradients))
            length = common_length(norms, rotations.norms)
            return combined(len(losses) * r.to(norms) * length / _divisors(norms), gradients)

        direction = closure.gradient_through(self.at, combine)
        ((output, gradients),) = seen
        d = output.shape[-1]
        rows = gradients.reshape(len(r), -1, d).double()
        if rotations.moments.steps == 0:
            self._check_heads_see(closure.parameters, direction, kernels, output.reshape(-1, d), rows)
        if not rows.any():
            return direction, rotations, status_of(Code.SOLVED if direction.any() else Code.STATIONARY)
        turns, rotations = self._rotate(rotations, rows, r.to(rows))
        parameters = closure.parameters
        for kernel, turn in zip(kernels, turns, strict=True):
            for flat in (parameters, direction):
                flat[kernel.at] = _turned(flat[kernel.at].reshape(kernel.shape), turn).reshape(-1)
        closure.move(parameters)
        return direction, rotations, status_of(Code.SOLVED)

    def _start(self, state: Rotations, norms: Tensor, shape: torch.Size) -> Rotations:
        """Return the state with the norms at t_0, and with rotations if it has none."""
        if state.values is None:
            d = shape[-1] if shape else 0
            size = d if self.size is None else self.size
            if not 2 <= size <= d:
                raise ValueError(
                    f"size={self.size!r}: the output of {self.at!r} has the shape {tuple(shape)}; its last dimension "
                    "must be at least 2, and size at most that"
                )
            start = adam.start(norms.new_zeros(len(norms) * (size * (size - 1) // 2)))
            return Rotations(*start, norms)
        if state.steps == self.burn_in:
            return state._replace(norms=norms)
        # a loss whose gradient vanished at t_0 is measured by its first one that did not
        return state._replace(norms=state.norms.where(state.norms > 0, norms))  # type: ignore[union-attr]

    def _rotate(self, state: Rotations, rows: Float[Tensor, "m b d"], r: Tensor) -> tuple[Tensor, Rotations]:
        """Take a step; return the old rotations' transposes times the new ones, (m, size, size), and the state."""
        before = state.moments
        units = rows / _divisors(rows.reshape(len(rows), -1).norm(dim=1))[:, None, None]
        skew = before.values.clone().requires_grad_()
        with torch.enable_grad():
            rotations = exponentials(skew, len(rows))
        size = rotations.shape[-1]
        mean = torch.tensordot(r, units, dims=1)[:, :size]
        old = rotations.detach()
        # of |R v - R_k U_k|^2 = a constant - 2 (R v) . (R_k U_k)
        slopes = -2 * old @ units[..., :size].mT @ mean
        (gradient,) = torch.autograd.grad(rotations, skew, slopes)
        rate = self.learning_rate * self.decay ** int(before.steps)
        after = adam.step(before, gradient, rate)
        return old.mT @ exponentials(after.values, len(rows)), Rotations(*after, state.norms)

    def _check_heads_see(
        self,
        parameters: Tensor,
        direction: Tensor,
        kernels: list[Location],
        output: Float[Tensor, "b d"],
        rows: Float[Tensor, "m b d"],
    ) -> None:
        """Raise unless each loss depends on the representation through its head's first layer V alone.

        Then, and in general only then, V' dL/dV is U' z; a rotation folded into V rotates z for that loss.
        """
        d = output.shape[-1]
        for i, (name, kernel) in enumerate(zip(self.heads, kernels, strict=True)):
            if kernel.shape[1] != d:
                raise ValueError(
                    f"heads={self.heads}: {name!r} takes {kernel.shape[1]} numbers, and the output of {self.at!r} has "
                    f"{d}; name the linear modules that take that output"
                )
            weight, gradient = (flat[kernel.at].reshape(kernel.shape).double() for flat in (parameters, direction))
            by_weight, by_output = weight.T @ gradient, rows[i].T @ output.double()
            size = weight.norm() * gradient.norm() + rows[i].norm() * output.double().norm()
            if (by_weight - by_output).norm() > torch.finfo(output.dtype).eps ** 0.5 * size:
                raise ValueError(
                    f"heads={self.heads}: loss {i} does not see the output of {self.at!r} through {name!r} alone; name "
                    "the module whose output goes straight into the heads, and the heads in the losses' order"
                )


def common_length(norms: Float[Tensor, " m"], reference: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Return C, the mean of the norms, weighted by their ratios to the reference; 0 where all vanish."""
    ratios = norms / _divisors(reference)
    return ratios @ norms / _divisors(ratios.sum())


def exponentials(skew: Float[Tensor, " k"], m: int) -> Float[Tensor, "m size size"]:
    """Return the m rotations of these entries below the diagonals of skew matrices."""
    entries = skew.reshape(m, -1)
    size = round((1 + (1 + 8 * entries.shape[1]) ** 0.5) / 2)
    row, column = torch.tril_indices(size, size, -1)
    lower = entries.new_zeros(m, size, size)
    lower[:, row, column] = entries
    return torch.linalg.matrix_exp(lower - lower.mT)


def _turned(weight: Tensor, turn: Tensor) -> Tensor:
    """Return weights (k, d) times a rotation of the first numbers."""
    size = len(turn)
    return torch.cat([weight[:, :size] @ turn.to(weight), weight[:, size:]], dim=1)


def _divisors(values: Tensor) -> Any:
    """Return the values, 1 in place of those that are 0."""
    return values.where(values > 0, 1)
