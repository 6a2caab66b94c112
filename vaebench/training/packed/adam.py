"""Adam for the parameters of many members: each has its row, learning rate and clipping norm; diverged ones stop."""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaebench.training.packed import torch_private

ALIGNMENT = 64
"""A row is padded to a multiple of this, so that every row starts at the same place in a register and a cache line."""


class ParameterMatrix:
    """The parameters of all members in one matrix, a row per member. The members' own parameters become views of it.

    The weights of an `nn.Linear` are stored transposed, inputs by outputs: a batched matrix product reads this layout
    about twice as fast.

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
        transposed = {f"{n}.weight" for n, m in members[0].named_modules() if isinstance(m, nn.Linear)}
        self.names = [name for name, _ in first]
        self._transposed = [name in transposed for name in self.names]
        sizes = [p.numel() for _, p in first]
        self._padding = -sum(sizes) % ALIGNMENT
        self.values = first[0][1].new_zeros(len(members), sum(sizes) + self._padding).detach()
        self.stacks: list[Tensor] = []
        for i, columns in enumerate(self.values[:, : sum(sizes)].split(sizes, 1)):
            shape = first[i][1].shape
            arranged = (
                columns.unflatten(1, shape[::-1] if self._transposed[i] else shape) if shape else columns.squeeze(1)
            )
            self.stacks.append(arranged.transpose(1, 2) if self._transposed[i] else arranged)
        with torch.no_grad():
            for row, parameters in enumerate(own):
                for (_, p), stack in zip(parameters, self.stacks, strict=True):
                    stack[row].copy_(p)
                    p.data = stack[row]

    def flat(self, stacks: Sequence[Tensor], out: Tensor) -> Tensor:
        """Arrange stacks `[M, *shape]`, one per parameter, as a matrix `[M, P]` with the layout of `values`."""
        arranged = [s.transpose(1, 2) if t else s for s, t in zip(stacks, self._transposed, strict=True)]
        columns = [s.reshape(len(out), -1) for s in arranged]
        return torch.cat([*columns, out.new_zeros(len(out), self._padding)], 1, out=out)


class PackedAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with the formulas of `torch.optim.Adam`, applied to every row of a matrix by itself.

    No number connects two members: each has its own gradient norm and learning rate, and a diverged one is left out.
    Neighbouring members with the same learning rate are updated in one call.

    Args:
        rows: the parameters.
        learning_rates: of each member.
        clips: for each member the largest norm of its gradient, or None.
    """

    def __init__(self, rows: ParameterMatrix, learning_rates: Sequence[float], clips: Sequence[float | None]) -> None:
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
        """Take one step for every active member. Nothing of the others changes.

        Args:
            gradients: a stack for each parameter.
            active: for each member whether it takes the step.
        """
        gradient = self.rows.flat(gradients, self._gradient)
        if self._clips:
            # Scale each row down to its largest norm, as `nn.utils.clip_grad_norm_` does for one model. Without a clip
            # the factor is inf / norm, so 1. If the norm overflows too, inf / inf is NaN: the member stays unclipped.
            norm = gradient.norm(dim=1)
            gradient *= (self._clip / (norm + 1e-6)).clamp_(max=1.0).nan_to_num_(1.0).unsqueeze(1)
        # The spans change only when a member diverges.
        if self._active != list(active):
            self._active, self._spans = list(active), self._spans_of(active)
        step = self.state[self.rows.values]["step"].add_(1)
        group = self.param_groups[0]
        for rate, (p, g, m, v) in self._spans:
            torch_private.fused_adam(p, g, m, v, [step], lr=rate, betas=group["betas"], eps=group["eps"])

    def _spans_of(self, active: Sequence[bool]) -> list[tuple[float, list[list[Tensor]]]]:
        """Spans of neighbouring active members of equal learning rate: the rate, and their rows of each matrix."""
        state = self.state[self.rows.values]
        matrices = (self.rows.values, self._gradient, state["exp_avg"], state["exp_avg_sq"])
        keys = list(zip(active, self.learning_rates, strict=True))
        spans = []
        for (is_active, rate), span in groupby(range(len(keys)), keys.__getitem__):
            members = list(span)
            if is_active:
                spans.append((rate, [[x[members[0] : members[-1] + 1]] for x in matrices]))
        return spans

    def moments(self, member: int) -> Float[Tensor, "2 P"]:
        """The two running means of a member: of its gradient and of its square."""
        state = self.state[self.rows.values]
        return torch.stack([state["exp_avg"][member], state["exp_avg_sq"][member]])

    def resume(self, step: int, moments: Sequence[Float[Tensor, "2 P"]]) -> None:
        """Continue after a number of steps, with these moments of each member."""
        state = self.state[self.rows.values]
        state["step"].fill_(step)
        for member, (first, second) in enumerate(moments):
            state["exp_avg"][member].copy_(first)
            state["exp_avg_sq"][member].copy_(second)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        raise NotImplementedError("a pack computes its own gradients: call advance(gradients, active)")
