"""What methods share that keep what they saw: checks and norms of gradients, a status, weights on a simplex."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Status
from paretomtl_solvers import qp


def gradient_norms(method: str, gramian: Float[Tensor, "*points m m"]) -> Float[Tensor, "*points m"]:
    """Return the norms of the gradients, in float64; a square that rounding made negative counts as 0.

    Raises:
        ValueError: the Gramian is not finite; the message names the method.
    """
    qp.check_finite_gramian(method, Gramian=gramian.detach().cpu().double().numpy())
    return torch.diagonal(gramian.detach().double(), dim1=-2, dim2=-1).clamp(min=0).sqrt()


def check_jacobian(method: str, jacobian: Float[Tensor, "*points m n"]) -> None:
    """Raise unless all gradients are finite; the message names the method and the rows, not their many numbers."""
    if jacobian.sum().isfinite():  # as it is only where all are; and it may overflow where all are
        return
    finite = jacobian.isfinite().all(dim=-1)
    if not finite.all():
        *_, rows = finite.logical_not().nonzero(as_tuple=True)
        raise ValueError(f"{method}: the gradients of losses {sorted(set(rows.tolist()))} are not finite")


def status_where(stationary: Bool[Tensor, "*points"]) -> Status:
    """Return "stationary" at these points and "solved" elsewhere, with residual 0."""
    code = torch.where(stationary.cpu(), int(Code.STATIONARY), int(Code.SOLVED))
    return Status(code, torch.zeros(code.shape, dtype=torch.float64))


def scale_to_sum(parts: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return the parts, of at least 0, scaled to sum to m; 1 each where all are 0."""
    largest = parts.max(dim=-1, keepdim=True).values
    parts = torch.where(largest > 0, parts / largest.where(largest > 0, 1), 1)
    return parts.shape[-1] * parts / parts.sum(dim=-1, keepdim=True)


def project_on_simplex(v: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return the nearest point of the simplex: max(v - t, 0), with the t for which it sums to 1.

    t is exact: of the k largest entries, for the largest k at which all of these stay positive, it is (sum - 1) / k.
    """
    v = v - v.max(dim=-1, keepdim=True).values  # which changes t alone, and saves the 1 beside entries that are huge
    ordered = v.sort(dim=-1, descending=True).values
    over = ordered.cumsum(dim=-1) - 1
    counts = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    k = (ordered * counts > over).sum(dim=-1, keepdim=True)
    w = (v - over.gather(-1, k - 1) / k).clamp(min=0)
    return w / w.sum(dim=-1, keepdim=True)
