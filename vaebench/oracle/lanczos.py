"""The smallest and largest eigenvalue of a symmetric matrix from matrix-vector products, with an error bound.

`scipy.sparse.linalg.eigsh` computes the same eigenvalues, but it raises if it does not converge within its products.
Here the number of products is limited, and the answer must say how far it can be trusted.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

CONVERGED = 1e-7
"""Stop when the residual is below this fraction of the largest magnitude."""

LOOK = 8
"""Compute the residual once in so many products."""

Product = Callable[[Float64[Tensor, " P"]], Float64[Tensor, " P"]]


class Ends(NamedTuple):
    """Estimates of the smallest and the largest eigenvalue.

    Attributes:
        smallest: never below the true smallest eigenvalue, so a negative value proves that one is negative.
        largest: never above the true largest eigenvalue.
        uncertainty: the residual |Av − λv| of `smallest`. Some eigenvalue lies within this distance.
        direction: v with |v| = 1 and vᵀAv = `smallest`.
    """

    smallest: float
    largest: float
    uncertainty: float
    direction: Float64[Tensor, " P"]


def ends(product: Product, start: Float64[Tensor, " P"], products: int) -> Ends:
    """Run Lanczos with full reorthogonalisation (Golub & Van Loan, Matrix Computations, 4th ed., §10.3).

    Args:
        product: v ↦ Av for a symmetric A.
        start: a vector with a component in every eigendirection, such as a random one.
        products: the largest number of products; fewer if the smallest eigenvalue has converged.

    Raises:
        ValueError: if the start is zero, or if no product is allowed.
    """
    most = min(products, len(start))
    if not float(start.norm()) > 0 or most < 1:
        raise ValueError(f"expected a start that is not zero and at least one product, got {products}")
    basis, (diagonal, beside) = start.new_empty(most, len(start)), start.new_empty(2, most)
    basis[0] = start / start.norm()
    for k in range(most):
        image = product(basis[k])
        diagonal[k] = basis[k] @ image
        for _ in range(2):  # a single pass leaves rounding errors, which grow with every step
            image = image - basis[: k + 1].mT @ (basis[: k + 1] @ image)
        beside[k] = image.norm()
        last = k + 1 == most or bool(beside[k] <= CONVERGED * diagonal[: k + 1].abs().max())
        if last or k % LOOK == 0:
            found = _ritz(basis[: k + 1], diagonal[: k + 1], beside[: k + 1])
            if last or found.uncertainty <= CONVERGED * max(abs(found.smallest), abs(found.largest)):
                return found
        basis[k + 1] = image / beside[k]
    raise AssertionError("the last product returns")


def _ritz(basis: Float64[Tensor, "K P"], diagonal: Float64[Tensor, " K"], beside: Float64[Tensor, " K"]) -> Ends:
    off = beside[:-1]
    values, vectors = torch.linalg.eigh(torch.diag(diagonal) + torch.diag(off, 1) + torch.diag(off, -1))
    residual = float(beside[-1] * vectors[-1, 0].abs())
    return Ends(float(values[0]), float(values[-1]), residual, basis.mT @ vectors[:, 0])
