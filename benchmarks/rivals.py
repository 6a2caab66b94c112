"""The trainings that `benchmarks/peers.py` compares, each in its own process.

python benchmarks/rivals.py NAME TASK DATA     # started by peers.py; prints a measurement as JSON
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import vaebench  # noqa: F401 (before lightning)

# isort: split

import lightning
import torch
from clock import now, peak
from lightning.pytorch.callbacks import LambdaCallback
from peers import COMPILED, OURS, PYTHAE, ROOT, TASKS, USUAL, Task
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from vaebench.config import Run, load
from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule, data_of
from vaebench.models.base import Autoencoder
from vaebench.training.fit import fit
from vaebench.training.packed import compiled
from vaebench.training.packed.stacked import Stacks
from vaebench.training.trainer import configure_process

STEPS = 50
"""At which losses are compared."""


class Usual(lightning.LightningModule):
    """A β-VAE as one writes it."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, beta: float, learning_rate: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.beta, self.learning_rate = encoder, decoder, beta, learning_rate

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        distortion = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum") / len(x)
        rate = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(-1).mean()
        return distortion + self.beta * rate

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = self.loss(batch[0])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


def pythae_of(model: Autoencoder, beta: float) -> Any:
    """The same net as a model of pythae."""
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.encoder

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    config = BetaVAEConfig(input_dim=model.shape, latent_dim=model.latent_dim, reconstruction_loss="bce", beta=beta)
    return BetaVAE(config, Encoder(), Decoder())


def train_usual(run: Run, model: Autoencoder, x: Tensor, folder: str) -> list[float]:
    """Marks: before, and after each epoch."""
    marks = [now()]
    batches = DataLoader(TensorDataset(x), batch_size=run.train.batch_size, shuffle=True)
    clock = LambdaCallback(on_train_epoch_end=lambda *_: marks.append(now()))
    module = Usual(model.encoder, model.decoder, run.model["beta"], run.model["learning_rate"])
    trainer = lightning.Trainer(
        max_epochs=run.train.epochs, default_root_dir=folder, callbacks=[clock], log_every_n_steps=10
    )
    trainer.fit(module, batches)
    return marks


def train_pythae(run: Run, model: Autoencoder, x: Tensor, folder: str) -> list[float]:
    """The same of pythae."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Marking(TrainingCallback):
        def on_epoch_end(self, *_: object, **__: object) -> None:
            marks.append(now())

    marks = [now()]
    config = BaseTrainerConfig(
        output_dir=folder, num_epochs=run.train.epochs, per_device_train_batch_size=run.train.batch_size,
        learning_rate=run.model["learning_rate"],
    )  # fmt: skip
    data = BaseDataset(x, torch.zeros(len(x)))
    trainer = BaseTrainer(pythae_of(model, run.model["beta"]), data, training_config=config, callbacks=[Marking()])
    trainer.train()
    assert len(trainer.train_loader) == steps_of(run, x), "pythae leaves examples out"
    return marks


PEERS: dict[str, Callable[[Run, Autoencoder, Tensor, str], list[float]]] = {PYTHAE: train_pythae, USUAL: train_usual}


def measured(name: str, task: Task, runs: list[Run]) -> dict[str, Any]:
    """Of a peer or of ours: seconds of an epoch and of what is before and after, and where the training ended."""
    data, x = observations(runs[0])
    with tempfile.TemporaryDirectory() as folder:
        if name in (OURS, COMPILED):
            marks = [now()]
            folders = [Path(folder) / run.id for run in runs]
            for own in folders:
                own.mkdir()
            with patch.multiple(compiled, LOADING=0.0, COMPILING=0.0):
                loggers: list[list[Any]] = [[] for _ in runs]
                fitted = fit(runs, folders, loggers, lambda *_: marks.append(now()), compiles=name == COMPILED)
            if name == COMPILED and not fitted[0].compiled_steps:  # type: ignore[union-attr]
                raise ImportError("nothing was compiled")
            end = now()
            model = fitted[0].model  # type: ignore[union-attr]
        else:
            model, *others = [built(run, data, x) for run in runs[:2]]
            marks = PEERS[name](runs[0], model, x, folder)
            for run, other in zip(runs[1:], others, strict=False):
                marks = PEERS[name](run, other, x, folder)
            end = now()
    epochs = [b - a for a, b in pairwise(marks[task.warm :])]
    x = x.to(next(model.parameters()).device)
    noise = torch.randn(len(x), model.latent_dim, generator=torch.Generator().manual_seed(0)).to(x.device)
    with torch.no_grad():
        objective = float(model.objective(x, noise).mean())
    epoch, steps = median(epochs), steps_of(runs[0], x)
    return {
        # The first epochs minus usual ones are the time before; on a busy machine it may seem to be negative.
        "epoch": epoch, "steps": steps,
        "rest": end - marks[-1] + max(0.0, marks[task.warm] - marks[0] - task.warm * epoch),
        "batch": len(x) / steps, "peak": peak(), "objective": objective,
    }  # fmt: skip


def built(run: Run, data: DataModule, x: Tensor) -> Autoencoder:
    """The model that ours begins with."""
    model = MODELS.build(run.model, data.shape, run.seed)
    model.prepare(x)
    return model


def observations(run: Run) -> tuple[DataModule, Tensor]:
    """The training split, as the models see it."""
    data = data_of(run)
    data.setup("fit")
    return data, data.train.x


def steps_of(run: Run, x: Tensor) -> int:
    """Of an epoch."""
    return -(-len(x) // run.train.batch_size)


def losses_apart(runs: list[Run]) -> dict[str, list[float] | None]:
    """The largest relative differences of losses: the pack's from a peer's, and the peer's from its own in float64.

    All start from the weights of one member. The second is what float32 costs the peer itself. pythae, for example,
    computes a cross-entropy of sigmoids, which float32 rounds to 0 or 1.
    """
    member = len(runs) // 2
    taken: list[tuple[Tensor, Tensor, float]] = []
    program = Stacks.program

    def noting(stacks: Stacks, function: Any, data: Any, train: bool = False) -> Any:
        def run(x: Tensor, noise: Tensor) -> list[Tensor]:
            found = step(x, noise)
            if train:
                taken.append((x[member].clone(), noise[member].clone(), -float(found[0][member])))
            return found

        step = program(stacks, function, data, train)
        return run

    with tempfile.TemporaryDirectory() as folder, patch.object(Stacks, "program", noting):
        folders = [Path(folder) / run.id for run in runs]
        for own in folders:
            own.mkdir()
        fit(runs, folders, [[] for _ in runs], lambda *_: None)
    return {peer: _apart(runs[member], peer, taken[:STEPS]) for peer in PEERS}


def _apart(run: Run, peer: str, taken: list[tuple[Tensor, Tensor, float]]) -> list[float] | None:
    try:
        exact, rounded = (list(_trained(run, peer, taken, kind)) for kind in (torch.float64, torch.float32))
    except ImportError:
        return None
    ours = [loss for _, _, loss in taken]
    return [max(abs(a / b - 1) for a, b in zip(*pair, strict=True)) for pair in ((ours, rounded), (rounded, exact))]


def _trained(run: Run, peer: str, taken: list[tuple[Tensor, Tensor, float]], kind: torch.dtype) -> Iterator[float]:
    """The losses of a peer that takes the same steps, in numbers of this kind."""
    data, x = observations(run)
    model, beta = built(run, data, x).to(taken[0][0].device, kind), run.model["beta"]
    theirs: Any = pythae_of(model, beta) if peer == PYTHAE else Usual(model.encoder, model.decoder, beta, 0.0)
    adam = torch.optim.Adam(theirs.parameters(), run.model["learning_rate"])
    for batch, noise, _ in taken:
        with patch.object(torch, "randn_like", lambda *_, noise=noise: noise.to(kind)):
            loss = theirs.loss(batch.to(kind)) if isinstance(theirs, Usual) else theirs({"data": batch.to(kind)}).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield float(loss.detach())


def main(name: str, task_name: str, data: str) -> None:
    """Print a measurement."""
    configure_process(1)
    task = TASKS[task_name]
    epochs = (1 if task.of_mnist else 3) if name == "same" else task.warm + task.counted
    own = (f"data={data}",) if task.of_mnist else ()
    runs = list(load(ROOT / "conf" / "beta.yaml", [*task.overrides, *own, f"train.epochs={epochs}"]).runs)
    assert len(runs) == task.members
    try:
        found: dict[str, Any] = losses_apart(runs) if name == "same" else measured(name, task, runs)
    except ImportError as error:
        advice = "g++ is needed" if name == COMPILED else "pip install -e '.[peers]'"
        found = {"absent": f"not measured: {error}; {advice}"}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
