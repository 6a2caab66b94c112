"""The Jacobian of an encoder: how far a small change of an observation moves its code."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp, vmap


def squared_jacobian(
    encode: Callable[[Tensor], Float[Tensor, "B L"]], x: Float[Tensor, "B *event"]
) -> Float[Tensor, " B"]:
    """‖∂h/∂x‖²_F of each observation: the sum of all L·D squared derivatives. It is exact, from L backward passes.

    Gradients flow through the result into the parameters of the encoder, and it can be mapped by `torch.func.vmap`.

    Args:
        encode: the code h of each observation. It must not depend on the other observations of the batch.
        x: the observations.

    >>> squared_jacobian(lambda x: x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.zeros(1, 2))
    tensor([14.])
    """
    with torch.inference_mode(False):  # validation runs in inference mode, in which nothing can be differentiated
        code, backward = vjp(encode, x.clone())[:2]
        units = torch.eye(code.shape[-1], dtype=code.dtype, device=code.device)
        # The rows of a batch are independent, so one backward pass gives ∂h_j/∂x of every observation.
        gradients = vmap(lambda unit: backward(unit.expand_as(code))[0])(units)
        return gradients.square().flatten(2).sum((0, 2))
