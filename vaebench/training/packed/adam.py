"""Adam on the parameters of many members: a row, a learning rate and a clipping norm each, and some may be dead."""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import inf
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaebench.training.packed import torch_private

ALIGNMENT = 64
"""Numbers to a multiple of which a row is filled, so that all start alike in a register and a cache line."""


class Rows:
    """The parameters of all members in one matrix, a row each; the members' own parameters become views of it.

    The weights of an `nn.Linear` are laid out inputs by outputs: the batched product of a step reads that layout about
    twice as fast as the other.

    Args:
        members: modules of one structure.

    Attributes:
        names: of the parameters.
        values: the matrix `[M, P]`.
        stacks: for each parameter its stack `[M, *shape]`, a view of the matrix.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        own = [[(n, p) for n, p in m.named_parameters() if p.requires_grad] for m in members]
        first = own[0]
        turned = {f"{n}.weight" for n, m in members[0].named_modules() if isinstance(m, nn.Linear)}
        self.names = [name for name, _ in first]
        self._turned = [name in turned for name in self.names]
        sizes = [p.numel() for _, p in first]
        self._filling = -sum(sizes) % ALIGNMENT
        self.values = first[0][1].new_zeros(len(members), sum(sizes) + self._filling).detach()
        self.stacks: list[Tensor] = []
        for i, columns in enumerate(self.values[:, : sum(sizes)].split(sizes, 1)):
            shape = first[i][1].shape
            laid = columns.unflatten(1, shape[::-1] if self._turned[i] else shape) if shape else columns.squeeze(1)
            self.stacks.append(laid.transpose(1, 2) if self._turned[i] else laid)
        with torch.no_grad():
            for row, parameters in enumerate(own):
                for (_, p), stack in zip(parameters, self.stacks, strict=True):
                    stack[row].copy_(p)
                    p.data = stack[row]

    def flat(self, stacks: Sequence[Tensor], out: Tensor) -> Tensor:
        """Stacks `[M, *shape]` of numbers about the parameters as a matrix `[M, P]`."""
        laid = [s.transpose(1, 2) if t else s for s, t in zip(stacks, self._turned, strict=True)]
        columns = [s.reshape(len(out), -1) for s in laid]
        return torch.cat([*columns, out.new_zeros(len(out), self._filling)], 1, out=out)


class PackedAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) as `torch.optim.Adam` has it, for every row of a matrix by itself.

    A norm over all members, one learning rate or one step that went wrong would tie them together: here nothing does.
    Neighbours of one learning rate are updated in one call.

    Args:
        rows: the parameters.
        learning_rates: one a member.
        clips: for each member the largest norm of its gradient, or None.
    """

    def __init__(self, rows: Rows, learning_rates: Sequence[float], clips: Sequence[float | None]) -> None:
        super().__init__([rows.values], {"betas": (0.9, 0.999), "eps": 1e-8})
        self.rows, self.learning_rates = rows, list(learning_rates)
        self._clip = rows.values.new_tensor([inf if clip is None else clip for clip in clips])
        self._clips = any(clip is not None for clip in clips)
        self._gradient = torch.zeros_like(rows.values)
        self._active: list[bool] = []
        self._spans: list[tuple[float, list[list[Tensor]]]] = []
        self.state[rows.values] = {
            "step": rows.values.new_zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(rows.values),
            "exp_avg_sq": torch.zeros_like(rows.values),
        }

    @torch.no_grad()
    def advance(self, gradients: Sequence[Float[Tensor, "M ..."]], active: Sequence[bool]) -> None:
        """One step of every member that is active; nothing of the others moves.

        Args:
            gradients: a stack for each parameter.
            active: which members take the step.
        """
        gradient = self.rows.flat(gradients, self._gradient)
        if self._clips:
            norm = gradient.norm(dim=1)
            # A norm beyond the numbers over no clip at all is inf/inf: such a member is left as it would be alone.
            gradient *= (self._clip / (norm + 1e-6)).clamp_(max=1.0).nan_to_num_(1.0).unsqueeze(1)
        if self._active != list(active):
            self._active, self._spans = list(active), self._spans_of(active)
        step = self.state[self.rows.values]["step"].add_(1)
        group = self.param_groups[0]
        for rate, (p, g, m, v) in self._spans:
            torch_private.fused_adam(p, g, m, v, [step], lr=rate, betas=group["betas"], eps=group["eps"])

    def _spans_of(self, active: Sequence[bool]) -> list[tuple[float, list[list[Tensor]]]]:
        """Runs of neighbours that are active and share a learning rate: the rate, and their slices of the matrices."""
        state = self.state[self.rows.values]
        matrices = (self.rows.values, self._gradient, state["exp_avg"], state["exp_avg_sq"])
        keys = list(zip(active, self.learning_rates, strict=True))
        spans = []
        for (lives, rate), run in groupby(range(len(keys)), keys.__getitem__):
            members = list(run)
            if lives:
                spans.append((rate, [[x[members[0] : members[-1] + 1]] for x in matrices]))
        return spans

    def moments(self, member: int) -> Float[Tensor, "2 P"]:
        """A member's two running means, of the gradient and of its square."""
        state = self.state[self.rows.values]
        return torch.stack([state["exp_avg"][member], state["exp_avg_sq"][member]])

    def resume(self, step: int, moments: Sequence[Float[Tensor, "2 P"]]) -> None:
        """Go on after a number of steps that left these moments of each member."""
        state = self.state[self.rows.values]
        state["step"].fill_(step)
        for member, (first, second) in enumerate(moments):
            state["exp_avg"][member].copy_(first)
            state["exp_avg_sq"][member].copy_(second)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._active = []

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        raise NotImplementedError("a pack hands its gradients over: call advance(gradients, active)")
