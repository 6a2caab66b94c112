"""What does IWAE-5000 cost over the matrix products of its decoder, beside pythae's `get_nll`, and what does it hold?

A VAE of MNIST's size (784-400-400-32) and one of conf/beta.yaml's (64-64-64-10), trained for a moment on digits: the
bounds of all k at once, for 10 observations, by the path of every record. The floor is the products of the decoder at
as many latents, nothing else, in calls of the quickest size. One thread, one process; processor time, in turns, medians
of each round's ratio to its floor. Memory is the highest resident size beyond the size before, in a fresh process; the
error is that of the same draws in float64.

    pip install -c constraints.txt -e '.[peers]'    # without it the rows of pythae stay blank
    python benchmarks/evaluation.py

writes results/benchmarks/evaluation.md, and fails if, at MNIST's size, the time is above 1.3 floors, pythae's below 2.8
of ours, the error above 1e-4 nats, or if more is held than 48 MiB and eight tables of K × B numbers.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import vaebench  # noqa: F401 (before lightning)

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
NETS = {"784-400-400-32": (28, (400, 400), 32), "64-64-64-10": (8, (64, 64), 10)}
"""Side of the image, hidden widths, latent units; the first is the one of the claims."""

POINTS, K, ROUNDS = 10, 5000, 5
DRAWS = (500, 5000, 50_000)
"""K of the memory."""

ROWS = (250, 500, 1000)
"""Latents in a call of the floor."""

MIB = 2**20
AT_MOST, AT_LEAST, OFF = 1.3, 2.8, 1e-4
OURS, PYTHAE = "vaebench", "pythae"


def main() -> int:
    """Measure, print and write the table; the number of broken claims."""
    times = {net: in_fresh_process("time", net) for net in NETS}
    memory = {k: in_fresh_process("memory", str(k)) for k in DRAWS}
    text = table(times, memory)
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text)
    broken = list(faults(times[next(iter(NETS))], memory))
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


def faults(seen: dict[str, Any], memory: dict[int, float]) -> Iterator[str]:
    """The claims that do not hold."""
    if seen[OURS] > AT_MOST:
        yield f"IWAE-{K} takes {seen[OURS]:.2f} times its matrix products, claimed at most {AT_MOST}"
    if seen[PYTHAE] is not None and seen[PYTHAE] < AT_LEAST * seen[OURS]:
        yield f"pythae takes {seen[PYTHAE] / seen[OURS]:.2f} times as long, claimed at least {AT_LEAST}"
    if seen["error"] > OFF:
        yield f"the bounds are {seen['error']:.1e} nats off, claimed at most {OFF:.0e}"
    for k, held in memory.items():
        if held > allowed(k):
            yield f"{k} draws hold {held / MIB:.0f} MiB, claimed at most {allowed(k) / MIB:.0f}"


def allowed(k: int) -> float:
    """What is claimed to be held, in bytes."""
    return 48 * MIB + 8 * 8 * k * POINTS


def in_fresh_process(*arguments: str) -> Any:
    """What `child` prints."""
    command, environment = [sys.executable, __file__, *arguments], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def table(times: dict[str, dict[str, Any]], memory: dict[int, float]) -> str:
    """Markdown."""
    lines = [
        "# IWAE-5000 against the matrix products of its decoder",
        "",
        f"{POINTS} observations × {K} draws, one CPU thread, medians of {ROUNDS} rounds in turns. The products are",
        "those of the decoder, alone. `python benchmarks/evaluation.py` writes this and fails if a claim does.",
        "",
        "| decoder | | processor seconds | over the products | over vaebench |",
        "| --- | --- | --- | --- | --- |",
    ]
    for net, seen in times.items():
        lines.append(f"| {net} | matrix products | {seen['floor']:.2f} | 1 | {1 / seen[OURS]:.2f} |")
        for name in (OURS, PYTHAE):
            if seen[name] is None:
                lines.append(f"| {net} | {name} | | | {seen['absent']} |")
            else:
                cells = (seen["floor"] * seen[name], seen[name], seen[name] / seen[OURS])
                lines.append(f"| {net} | {name} | {' | '.join(f'{c:.2f}' for c in cells)} |")
    lines += [
        "",
        "| decoder | largest error against float64, nats | effective draws, median | pythae's bound less ours, nats |",
        "| --- | --- | --- | --- |",
    ]
    for net, seen in times.items():
        apart = "" if seen["apart"] is None else f"{seen['apart']:+.3f}"
        lines.append(f"| {net} | {seen['error']:.1e} | {seen['effective']:.0f} | {apart} |")
    lines += ["", "Where few draws are effective, either bound scatters by about a nat from draws to draws.", ""]
    lines += ["| K | MiB held | claimed at most | the decoder's output at all draws |", "| --- | --- | --- | --- |"]
    for k, held in memory.items():
        lines.append(f"| {k} | {held / MIB:.0f} | {allowed(k) / MIB:.0f} | {4 * k * POINTS * 784 / MIB:.0f} |")
    return "\n".join([*lines, ""])


def child(what: str, argument: str) -> None:
    """Measure in this process, and print the numbers as JSON."""
    import torch

    torch.set_num_threads(1)
    print(json.dumps(timed(argument) if what == "time" else held(int(argument))))


def trained(net: str) -> tuple[Any, Any]:
    """A model with logits as a trained one has them, and observations."""
    import torch

    from vaebench.datamodule import DataModule
    from vaebench.datasets.digits import Digits
    from vaebench.registry import MODELS

    side, hidden, latent_dim = NETS[net]
    data = DataModule(Digits(binarize="Fixed"))
    data.setup()
    x = torch.nn.functional.interpolate(data.train.x, size=(side, side))
    network = {"name": "MLP", "hidden": list(hidden)}
    model = MODELS.build({"name": "VAE", "latent_dim": latent_dim, "network": network}, (1, side, side), 0)
    model.prepare(x)
    stream, adam = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), 1e-3)
    for batch in x.repeat(8, 1, 1, 1).split(64):
        adam.zero_grad()
        (-model.objective(batch, model.noise(len(batch), stream)).mean()).backward()
        adam.step()
    test = torch.nn.functional.interpolate(data.test.x[:POINTS], size=(side, side))
    return model.eval().requires_grad_(False), test


def timed(net: str) -> dict[str, Any]:
    """Medians of ratios to the floor, the floor's seconds, and the error."""
    model, x = trained(net)
    variants: dict[str, Callable[[], Any]] = {OURS: lambda: bounds_of(model, x, K)}
    absent = None
    try:
        variants |= pythae_of(model, x)
    except ImportError as error:
        absent = f"not measured: {error}; pip install -e '.[peers]'"
    work = variants | floors(model)
    rounds = [{name: seconds(todo) for name, todo in work.items()} for _ in range(ROUNDS)]
    quickest = min(floors(model), key=lambda name: median(r[name] for r in rounds))
    found: dict[str, Any] = {PYTHAE: None, "absent": absent, "apart": None}
    if absent is None:
        found["apart"] = variants[PYTHAE]() - bounds_of(model, x, K)[f"iwae_{K}"]
    found["effective"] = bounds_of(model, x, K, ("EffectiveSampleSize",))["effective_sample_size_median"]
    found["error"] = error_of(model, x)
    found["floor"] = median(r[quickest] for r in rounds)
    return found | {name: median(r[name] / r[quickest] for r in rounds) for name in variants}


def held(k: int) -> float:
    """Bytes beyond those before, of the bounds of the first net."""
    from decomposition import forget_peak, resident

    model, x = trained(next(iter(NETS)))
    bounds_of(model, x, 100)  # what libraries keep for themselves after their first use
    before = forget_peak()
    bounds_of(model, x, k)
    return resident("VmHWM") - before


def bounds_of(model: Any, x: Any, k: int, metrics: Sequence[str] = ("IWAE",)) -> dict[str, Any]:
    """The bounds of all k, as every record has them; or what other diagnostics say."""
    from vaebench.draws import Batch
    from vaebench.evaluation import diagnostics, measure

    return {e.name: e.value for e in measure(model, [Batch(x)], diagnostics(metrics), k, 0).estimates}


def floors(model: Any) -> dict[str, Callable[[], None]]:
    """The decoder's matrix products alone, into tensors that are there already, in calls of several sizes."""
    import torch

    weights = [layer.weight.mT.contiguous() for layer in model.decoder if isinstance(layer, torch.nn.Linear)]

    def products(rows: int) -> None:
        first, outputs = torch.randn(rows, model.latent_dim), [torch.empty(rows, w.shape[1]) for w in weights]
        for _ in range(POINTS * K // rows):
            h = first
            for weight, output in zip(weights, outputs, strict=True):
                h = torch.mm(h, weight, out=output)

    return {f"in calls of {rows}": partial(products, rows) for rows in ROWS}


def pythae_of(model: Any, x: Any) -> dict[str, Callable[[], Any]]:
    """The same net and observations given to pythae, in its batches of 100 draws."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Any) -> Any:
            mean, log_variance = model.encoder(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=model.decoder(z).sigmoid())

    config = VAEConfig(input_dim=tuple(x.shape[1:]), latent_dim=model.latent_dim, reconstruction_loss="bce")
    theirs = VAE(config, Encoder(), Decoder())

    def bound() -> float:
        model.requires_grad_()  # as after training; pythae records the gradient
        value = float(theirs.get_nll(x, n_samples=K, batch_size=100))  # of log p(x), whatever its name
        model.requires_grad_(False)
        return value

    return {PYTHAE: bound}


def error_of(model: Any, x: Any) -> float:
    """The largest difference of a bound of an observation to the same draws in float64, nats."""
    import torch

    from vaebench import bounds
    from vaebench.draws import Batch

    drawn = model.draws(Batch(x), K, torch.Generator().manual_seed(0), keep=K)
    found = bounds.iwae(drawn.log_weight, K)
    exact, x, z = model.double(), x.double(), drawn.z.double()
    with torch.no_grad():
        log_px = torch.cat([exact.decode(part).log_prob(x) for part in z.split(100)])
        log_ratio = exact.prior(exact.encode).log_prob(z) - exact.encode(x).log_prob(z).sum(-1)
    return float((found - bounds.iwae(log_px + log_ratio, K)).abs().max())


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor, that a piece of work takes."""
    start = process_time()
    work()
    return process_time() - start


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], sys.argv[2])
    else:
        sys.exit(bool(main()))
