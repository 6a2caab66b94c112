"""Faults: a mean that forgets how many observations went into it.

Means of batches are averaged, so that the observations of a short last batch weigh more; means of ranks are averaged
without counts; a sampler pads its ranks to one length by repeating observations, which count twice. Right: every number
is a sum and a count, added up over batches and ranks, and no rank is padded.

The subject is a linear VAE at its maximum likelihood: the ELBO of every observation is exactly its evidence.
"""

import pytest
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from vaebench.config.registry import METRICS
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch, Shard
from vaebench.evaluation import bounds
from vaebench.oracle import maximum_likelihood
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum


def elbo(vae, x: Tensor) -> Tensor:
    return bounds.elbo(vae.draws(Batch(x), 1, generator(0, "museum")).log_weight)


def mean_of_batch_means(vae, x: Tensor, batch_size: int) -> float:
    means = [elbo(vae, batch).mean() for batch in x.split(batch_size)]
    return (sum(means) / len(means)).item()


def mean_of_rank_means(vae, x: Tensor, ranks: int) -> float:
    """As `all_reduce(mean); mean /= world_size`, each rank taking every so-manieth observation."""
    return sum(elbo(vae, x[rank::ranks]).mean().item() for rank in range(ranks)) / ranks


def mean_over_padded_ranks(vae, x: Tensor, ranks: int) -> float:
    """Sums and counts over ranks, right in themselves, of what PyTorch's sampler hands out."""
    samplers = [DistributedSampler(x, ranks, rank, shuffle=False) for rank in range(ranks)]
    values = torch.cat([elbo(vae, x[list(sampler)]) for sampler in samplers])
    return (values.sum() / len(values)).item()


def over_ranks(vae, x: Tensor, ranks: int) -> float:
    """Ours: the shards that the data module gives to ranks, their metrics merged as processes merge theirs."""
    metrics = [METRICS.build("ELBO") for _ in range(ranks)]
    for rank, metric in enumerate(metrics):
        for index in Shard(2, rank, ranks).batches(torch.arange(len(x))):
            metric.update(vae.draws(Batch(x[index]), 1, generator(0, "museum")))
    for other in metrics[1:]:
        metrics[0].merge_state(other)
    (estimate,) = metrics[0].compute()
    assert estimate.n == len(x)
    return estimate.value


@pytest.fixture
def subject(linear_vae) -> tuple:
    """A model and 101 observations, the most likely first, as in a file that is sorted by something."""
    point = maximum_likelihood(Spectrum.given([4.0, 2.0, 0.5, 0.5, 0.5]), 2)
    x, _ = point.model.sample(101, torch.Generator().manual_seed(0))
    return linear_vae(point.model, point.posterior), x[point.model.log_prob(x).argsort(descending=True)], point.model


def evidence(model: ProbabilisticPCA, x: Tensor) -> float:
    return float(model.log_prob(x).mean())


def test_a_short_last_batch_weighs_as_much_as_a_full_one(subject, ours, show):
    """The last of 101 observations in batches of 50 has a third of the weight."""
    vae, x, model = subject
    exact, wrong = evidence(model, x), mean_of_batch_means(vae, x, 50)
    right = ours(vae, x.split(50), "ELBO")["elbo"]
    show("ELBO, batch means averaged, last batch of 1", wrong, right.value, exact)
    assert right.n == 101
    assert right.value == pytest.approx(exact, abs=1e-9)
    last = evidence(model, x[100:])
    assert wrong == pytest.approx(evidence(model, x[:100]) * 2 / 3 + last / 3, abs=1e-9)
    assert wrong < exact - 1


@pytest.mark.parametrize(
    ("fault", "weights"),
    [(mean_of_rank_means, (1, 2, 2, 2, 1)), (mean_over_padded_ranks, (2, 2, 2, 1, 1))],
)
def test_five_observations_on_four_ranks(fault, weights, subject, show):
    """Each should weigh 1/5. Without counts the first rank's two weigh half; padded, the first three count twice."""
    vae, x, model = subject
    x = x[::25]
    exact, wrong, right = evidence(model, x), fault(vae, x, 4), over_ranks(vae, x, 4)
    show(f"ELBO, {fault.__name__.replace('_', ' ')}", wrong, right, exact)
    assert wrong == pytest.approx(float(model.log_prob(x) @ torch.tensor(weights).double()) / 8, abs=1e-9)
    assert abs(wrong - exact) > 0.2
    assert right == pytest.approx(exact, abs=1e-9)
