"""Adam on the rows of a matrix is torch's Adam on every member by itself."""

import pytest
import torch
from torch import nn

from vaebench.training.packed.optimizers import PackedAdam, PackedAdamW
from vaebench.training.packed.stacked import ParameterMatrix

RATES = [1e-3, 1e-3, 1e-1, 1e-2]
CLIPS = [None, 0.5, None, 100.0]


def networks() -> list[nn.Module]:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
        made.register_parameter("scale", nn.Parameter(torch.tensor(1.5)))
        return made

    with torch.random.fork_rng():
        return [network(seed) for seed in range(len(RATES))]


def gradients(rows: ParameterMatrix, step: int, size: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [size * torch.randn(s.shape, generator=generator) for s in rows.stacks]


def trained(
    steps: int = 20, is_training: list[bool] | None = None, size: float = 1.0
) -> tuple[list[nn.Module], ParameterMatrix]:
    members = networks()
    rows = ParameterMatrix(members)
    adam = PackedAdam(rows, RATES, CLIPS)
    for step in range(steps):
        adam.advance(gradients(rows, step, size), is_training or [True] * 4)
    return members, rows


@pytest.mark.parametrize("size", [1.0, 1e18, 1e30], ids=["usual", "large", "of a norm beyond the numbers"])
@pytest.mark.parametrize("i", range(4))
def test_every_row_is_torchs_adam(i, size):
    """20 steps, to 1e-6: a fused update rounds otherwise than torch's plain one."""
    members, rows = trained(size=size)
    alone = networks()[i]
    adam = torch.optim.Adam(alone.parameters(), lr=RATES[i])
    for step in range(20):
        for p, g in zip(alone.parameters(), gradients(rows, step, size), strict=True):
            p.grad = g[i].clone()
        if CLIPS[i] is not None:
            nn.utils.clip_grad_norm_(alone.parameters(), CLIPS[i])
        adam.step()
    for p, q in zip(members[i].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


def test_the_members_parameters_are_the_rows():
    members, rows = networks(), None
    before = [[p.clone() for p in m.parameters()] for m in members]
    rows = ParameterMatrix(members)
    for i, (member, kept) in enumerate(zip(members, before, strict=True)):
        for p, stack, was in zip(member.parameters(), rows.stacks, kept, strict=True):
            assert torch.equal(p, was)
            assert torch.equal(stack[i], was)
            assert p.data_ptr() == stack[i].data_ptr()


def test_nothing_of_the_dead_moves():
    is_training = [True, False, True, False]
    (some, _), (all_, _), before = trained(is_training=is_training), trained(), networks()
    for i, trains in enumerate(is_training):
        expected = all_[i] if trains else before[i]
        assert all(torch.equal(p, q) for p, q in zip(some[i].parameters(), expected.parameters(), strict=True))


def test_a_gradient_that_is_no_number_stays_with_its_member():
    members, expected = networks(), trained(1)[0]
    rows = ParameterMatrix(members)
    slopes = gradients(rows, 0)
    for s in slopes:
        s[1] = float("nan")
    PackedAdam(rows, RATES, CLIPS).advance(slopes, [True, False, True, True])
    for i in (0, 2, 3):
        assert all(torch.equal(p, q) for p, q in zip(members[i].parameters(), expected[i].parameters(), strict=True))
    assert all(p.isfinite().all() for p in members[1].parameters())


@pytest.mark.parametrize("size", [1.0, 1e18], ids=["usual", "large"])
@pytest.mark.parametrize("kind", [PackedAdam, PackedAdamW])
def test_the_formula_is_the_update(kind, size):
    """20 steps, to 1e-6; a member that no longer trains, and what the optimiser remembers of it, stays as it is."""
    is_training, settings = [True, True, False, True], [{"weight_decay": 0.1 * i, "eps": 1e-6} for i in range(4)]
    one, other = ParameterMatrix(networks()), ParameterMatrix(networks())
    by_update, by_formula = (kind(rows, RATES, CLIPS, settings) for rows in (one, other))
    for step in range(20):
        slopes = gradients(one, step, size)
        by_update.advance(slopes, is_training)
        numbers = by_formula.begin_compiled(is_training)
        by_formula.step_by_formula(other.stacks, slopes, by_formula.state_stacks(), *numbers)
    torch.testing.assert_close(other.values, one.values, rtol=1e-6, atol=1e-6)
    assert torch.equal(other.values[2], one.values[2])
    for i in range(4):
        torch.testing.assert_close(by_formula.state_of(i), by_update.state_of(i), rtol=1e-5, atol=0)
    assert not by_formula.state_of(2).any()
