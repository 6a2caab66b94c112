"""A recorded program gives what autograd gives, for every member, at every call."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vaebench.training.packed.capture import Unpackable, program, record
from vaebench.training.packed.graph_passes import arrange_products
from vaebench.training.packed.vmap_rules import JoinedLogistic, Logistic

M, B, K = 3, 5, 4


def stacks(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(M, *shape, generator=torch.Generator().manual_seed(seed))


def score(weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """Of one member: weight `[K]`, scale a number, x `[B, K]`."""
    hidden = torch.where(x > 0, x, 0.1 * x).exp().sigmoid()
    return (torch.cat([hidden, x], -1) @ torch.cat([weight, weight.square()])) * scale + (1 + x.square().sum(-1)).log()


def by_autograd(weight: Tensor, scale: Tensor, x: Tensor) -> list[Tensor]:
    mean, total, slopes = [], [], []
    for w, s, y in zip(weight, scale, x, strict=True):
        leaf = w.clone().requires_grad_()
        objective = score(leaf, s, y)
        (-objective.mean()).backward()
        mean.append(objective.mean().detach())
        total.append(objective.detach().double().sum())
        slopes.append(leaf.grad)
    return [torch.stack(mean), torch.stack(total), torch.stack(slopes)]


def test_mean_sum_and_gradient_are_autograds():
    weight, scale, x = stacks(K), stacks(seed=1), stacks(B, K, seed=2)
    for found, expected in zip(program(score, [weight, scale], [x], 1)(x), by_autograd(weight, scale, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_what_is_fixed_may_change_in_place_and_what_is_given_may_be_new():
    weight, scale = stacks(K), stacks(seed=1)
    step = program(score, [weight, scale], [stacks(B, K, seed=2)], 1)
    for seed in range(3, 6):
        weight.mul_(-0.5)
        scale.add_(1)
        x = stacks(B, K, seed=seed)
        kept = x.clone()
        for found, expected in zip(step(x), by_autograd(weight, scale, x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(x, kept)


def test_without_parameters_there_is_no_gradient():
    assert len(program(score, [stacks(K), stacks()], [stacks(B, K)])(stacks(B, K))) == 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda w, x: x @ w if x.sum() > 0 else -x @ w, "data-dependent control flow"),
        (lambda w, x: torch.dropout(x, 0.5, train=True) @ w, "random"),
        (lambda w, x: x @ w.mul_(2), "changes its own parameters or buffers|in-place"),
        (lambda w, x: x @ w * float(w.sum()), "item"),
    ],
    ids=["branching", "random", "changing", "reading"],
)
def test_what_cannot_be_mapped_is_refused_with_the_reason(function, reason):
    with pytest.raises(Unpackable, match=reason):
        program(function, [stacks(K)], [stacks(B, K)])


def with_a_constant(weight: Tensor, x: Tensor) -> Tensor:
    """Of one member; brings a tensor of its own and writes over it."""
    half = torch.tensor([0.25]).add_(0.25)
    return (x @ weight) * half


def test_a_constant_that_is_written_over_is_fresh_at_every_call():
    weight, x = stacks(K), stacks(B, K, seed=2)
    step = program(with_a_constant, [weight], [x], 1)
    for _ in range(2):
        mean, _, slope = step(x)
        torch.testing.assert_close(mean, 0.5 * torch.einsum("mbk,mk->m", x, weight) / B)
        torch.testing.assert_close(slope, -0.5 * x.mean(1))


CONSTANT = torch.linspace(-1, 1, K)


def exp_of_an_assigned_column(w: Tensor, x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, 0] = w[0] * x[:, 0]
    return made.exp().sum(-1)


def sum_from_zeros(w: Tensor, x: Tensor) -> Tensor:
    total = torch.zeros_like(x[:, 0])
    for k in range(K):
        total += w[k] * x[:, k]
    return total.square()


def sum_from_new_zeros(w: Tensor, x: Tensor) -> Tensor:
    return x.new_zeros(B).add_((x * w).sum(-1)).add_(1.0)


def product_from_ones(w: Tensor, x: Tensor) -> Tensor:
    return torch.ones_like(x).mul_(x * w).mul_(2.0).sum(-1)


def a_view_of_zeros(w: Tensor, x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made.view(-1)[:K].copy_(w)
    return (made * x + made.exp()).sum(-1)


def a_filled_mask(w: Tensor, x: Tensor) -> Tensor:
    mask = torch.zeros_like(x)
    mask[:, :2] = 1
    before = mask.exp()
    mask += 1
    return (x * w * mask * before).sum(-1)


def a_masked_one(w: Tensor, x: Tensor) -> Tensor:
    one = torch.zeros_like(x).masked_fill_(x > 0, 1.0)
    return (one * x * w).sum(-1) + one.neg().exp().sum(-1)


def a_view_read_after_a_change(w: Tensor, x: Tensor) -> Tensor:
    hidden = x * w
    seen = hidden.view(-1)
    return hidden.tanh_().sigmoid().sum(-1) + seen.view(B, K).sum(-1)


def a_power_that_is_a_copy(w: Tensor, x: Tensor) -> Tensor:
    grown = x.clone()
    copied = grown.pow(1)
    grown.add_(1.0)
    return (copied * w).sum(-1) + grown.sum(-1)


def a_power_that_is_changed(w: Tensor, x: Tensor) -> Tensor:
    hidden = x * w
    changed = hidden.pow(1).mul_(3.0)
    return (changed + hidden).sum(-1)


def a_constant_of_the_model(w: Tensor, x: Tensor) -> Tensor:
    return (x * w * CONSTANT.exp()).sum(-1)


WRITERS = [
    exp_of_an_assigned_column,
    sum_from_zeros,
    sum_from_new_zeros,
    product_from_ones,
    a_view_of_zeros,
    a_filled_mask,
    a_masked_one,
    a_view_read_after_a_change,
    a_power_that_is_a_copy,
    a_power_that_is_changed,
    a_constant_of_the_model,
]


@pytest.mark.parametrize("function", WRITERS, ids=lambda function: function.__name__)
def test_what_writes_in_place_gives_what_autograd_gives_at_every_call(function):
    weight, x = stacks(K), stacks(B, K, seed=2)
    step = program(function, [weight], [x], 1)
    for seed in (2, 3, 4):
        x = stacks(B, K, seed=seed)
        mean, total, slopes = step(x)
        for member in range(M):
            leaf = weight[member].clone().requires_grad_()
            objective = function(leaf, x[member])
            (-objective.mean()).backward()
            torch.testing.assert_close(mean[member], objective.mean().detach(), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(total[member], objective.detach().double().sum(), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(slopes[member], leaf.grad, rtol=1e-5, atol=1e-5)


def test_an_objective_that_changes_a_tensor_of_its_own_is_refused():
    counter = torch.zeros(())

    def counting(w: Tensor, x: Tensor) -> Tensor:
        counter.add_(1)
        return x @ w * counter

    with pytest.raises(Unpackable, match="made once"):
        program(counting, [stacks(K)], [stacks(B, K)])


def test_arranged_products_are_the_products():
    """A compiled program pads matrices with zeros to whole cache lines, and turns products of few columns."""

    def products(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        return [torch.bmm(a, b), torch.baddbmm(c, a, b), torch.bmm(b.transpose(1, 2), a.transpose(1, 2))]

    for i, k, j in [(5, 3, 7), (1, 6, 2), (4, 1, 4), (16, 16, 16), (16, 4, 8), (9, 5, 3)]:
        data = [stacks(i, k), stacks(k, j, seed=1), stacks(1, j, seed=2)]
        recorder = record(products, data, gradient=False)
        arrange_products(recorder.graph)
        module = recorder.module()
        for found, expected in zip(module(*data), products(*data), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", [Logistic, JoinedLogistic])
def test_the_rules_for_pixels_are_the_cross_entropy(rule):
    """Value and slope, against float64, to the rounding of the largest number in the sum; also at extreme logits."""
    logit = torch.cat([torch.linspace(-30, 30, 2001), torch.tensor([0.0, -0.0, 1e-30, 90.0, -90.0, 1e30, -1e30])])
    for x in (torch.zeros_like(logit), torch.ones_like(logit), torch.linspace(0, 1, len(logit))):
        leaf, exact = logit.clone().requires_grad_(), logit.double().requires_grad_()
        found = rule.apply(leaf, x)
        expected = binary_cross_entropy_with_logits(exact, x.double(), reduction="none")
        (slope,), (true,) = (torch.autograd.grad(y.sum(), of) for y, of in ((found, leaf), (expected, exact)))
        eps = torch.finfo(torch.float32).eps
        assert bool(((found - expected).abs() <= 4 * eps * logit.abs().clamp_min(1)).all())
        assert bool(((slope - true).abs() <= 4 * eps).all())
