"""Whether gradients and weights are finite: one fused check with one synchronisation, and the name only if it fails."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from paretomtl.errors import NonFiniteError


def check_gradients(parameters: Mapping[str, Tensor], stacked: bool = False) -> None:
    """Raise `NonFiniteError` if the gradient of a parameter holds NaN or inf; name the first such parameter.

    Args:
        parameters: the trained parameters by name; those without a gradient are skipped.
        stacked: whether the parameters lead with the points; the error then has the index of the first bad point.
    """
    _check({name: p.grad for name, p in parameters.items() if p.grad is not None}, "the gradient of", stacked)


def check_weights(model: nn.Module) -> None:
    """Raise `NonFiniteError` if a trained parameter holds NaN or inf; name the first such parameter."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    _check(weights, "the weights", stacked=False)


def has_finite_gradients(parameters: Sequence[Tensor]) -> bool:
    """Return whether all gradients of the parameters are finite."""
    return _are_finite([p.grad for p in parameters if p.grad is not None])


def _check(tensors: dict[str, Tensor], of: str, stacked: bool) -> None:
    if _are_finite(list(tensors.values())):
        return
    bad = [
        (_first_bad_row(x) if stacked else 0, name) for name, x in tensors.items() if not _entries(x).isfinite().all()
    ]
    point, name = min(bad, key=lambda pair: pair[0])
    entries = _entries(tensors[name][point] if stacked else tensors[name])
    kind = "nan" if entries.isnan().any() else "inf"
    raise NonFiniteError(f"{kind} in {of} {name!r}", point if stacked else None)


def _are_finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether all entries are finite; their norms are not unless the entries are, and take one fused call."""
    if not tensors:
        return True
    entries = [_entries(x) for x in tensors]
    norms = torch._foreach_norm(entries)
    like = norms[0]
    if math.isfinite(float(torch.stack([norm.to(like) for norm in norms]).sum())):
        return True
    return all(bool(x.isfinite().all()) for x in entries)  # the squares of large finite numbers overflow


def _entries(x: Tensor) -> Tensor:
    """Return the stored entries of a tensor, which may be sparse."""
    return x._values() if x.is_sparse else x


def _first_bad_row(x: Tensor) -> int:
    return int(x.isfinite().reshape(len(x), -1).all(dim=1).logical_not().nonzero()[0])
