"""Sharpness: the largest eigenvalue of the Hessian of a loss, by Lanczos's method."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.loss_function import BatchLosses

FEW = 32  # parameters up to which the Hessian is built


def hessian_top(
    closure: BatchLosses, weights: Float[Tensor, " m"] | None = None, seed: int = 0, tolerance: float = 1e-4
) -> float:
    """Return the largest eigenvalue, with its sign, of the Hessian of a weighted sum of losses.

    The largest in magnitude, which the power iteration finds, may be a negative one. Within the products dropout is
    the same, as the closure has it.

    Args:
        closure: the losses of a batch, as `pm.closure(problem, model, batch)` gives them.
        weights: the weights of the losses; None for their mean.
        seed: the seed of the vector to begin with.
        tolerance: the relative accuracy.

    Raises:
        ArithmeticError: a product is not finite, or Lanczos's method has not converged.
        RuntimeError: the losses cannot be differentiated twice.
    """
    import numpy as np
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    at = closure.parameters
    if weights is None:
        m = len(closure())
        weights = torch.full((m,), 1 / m, dtype=at.dtype, device=at.device)

    def product(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(at)
        result = closure.hessian_product(weights, v).double().cpu().numpy()
        if not np.isfinite(result).all():
            raise ArithmeticError("a product with the Hessian is not finite; look at the losses and the weights")
        return result

    n = len(at)
    if n <= FEW:
        hessian = np.stack([product(row) for row in np.eye(n)])
        return float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])
    first = np.random.default_rng(seed).standard_normal(n)
    solve: Any = eigsh  # scipy's stubs know neither a tolerance nor a product as an argument
    operator_of: Any = LinearOperator
    try:
        [top] = solve(
            operator_of((n, n), matvec=product, dtype=np.float64),
            k=1,
            which="LA",
            v0=first,
            tol=tolerance,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence as error:
        raise ArithmeticError("the largest eigenvalue has not converged; give a larger tolerance=") from error
    return float(top)
