"""The ends of a symmetric matrix's spectrum from its products with vectors, and how sure they are."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

CONVERGED = 1e-7
"""Of the largest magnitude: a residual at which no more products are taken."""

LOOK = 8
"""Products from one look at the residual to the next."""

Product = Callable[[Float64[Tensor, " P"]], Float64[Tensor, " P"]]


class Ends(NamedTuple):
    """The smallest and the largest eigenvalue, as far as so many products tell.

    Attributes:
        smallest: never below the true one, so that a negative answer is certain.
        largest: never above the true one.
        uncertainty: the residual |Av − λv| of the smallest: an eigenvalue lies no farther away from it than this.
        direction: v, of length one, with vᵀAv = `smallest`.
    """

    smallest: float
    largest: float
    uncertainty: float
    direction: Float64[Tensor, " P"]


def ends(product: Product, start: Float64[Tensor, " P"], products: int) -> Ends:
    """Lanczos with every basis vector kept orthogonal to all others (Golub & Van Loan, §10.3).

    Args:
        product: v ↦ Av for a symmetric A.
        start: a vector with a part in every eigendirection, as a random one has.
        products: how many are taken at most; fewer where the smallest has converged or the space is exhausted.

    Raises:
        ValueError: on a start of zeros, or without a product.
    """
    most = min(products, len(start))
    if not float(start.norm()) > 0 or most < 1:
        raise ValueError(f"expected a start that is not zero and at least one product, got {products}")
    basis, (diagonal, beside) = start.new_empty(most, len(start)), start.new_empty(2, most)
    basis[0] = start / start.norm()
    for k in range(most):
        image = product(basis[k])
        diagonal[k] = basis[k] @ image
        for _ in range(2):  # once leaves a part of the rounding, which grows from step to step
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
