"""Before a sweep: the faults of a study, and what a sweep would do. Nothing is trained or written.

During a sweep, a run that fails does not stop the others. But if thirty runs fail for one reason, an hour after the
command was given, that is one fault in the study. Here it is reported at once, with its line in the file.
"""

import json
import netrc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as BadSettings
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch

from vaebench.config import ConfigError, Run, Study
from vaebench.config.faults import Place, dotted
from vaebench.config.grid import RunFault
from vaebench.config.registry import DATASETS, ESTIMATORS, METRICS, MODELS, OPTIMIZERS, Registry, Spec
from vaebench.data.datasets.base import Preview, data_root
from vaebench.records import record
from vaebench.records.files import record_paths
from vaebench.records.record import RecordError
from vaebench.sweeps.engines import Engine
from vaebench.sweeps.packs import pack_key, packs_of
from vaebench.sweeps.run import reason_of
from vaebench.training.callbacks import StopEarly
from vaebench.training.memory import TooLargeError, capacity, check_fits, meta_model, needs

PER_DRAW = 28  # bytes for a draw of an observation: its three log-densities, and its log-weight in both precisions
EACH = 100  # how many configurations of models are built, each in about 20 ms; then one for each kind of pack
WANDB = ("api.wandb.ai", "api.forge.coreweave.com")  # the old and the new host of W&B; its settings may name another


def refuse(study: Study, runs: Sequence[Run], engine: Engine) -> None:
    """Refuse a study that would fail.

    Args:
        engine: where the runs train. On another machine, its memory and data are not checked.

    Raises:
        ConfigError: with a line for every fault, at its place in the study.
    """
    known: dict[str, tuple[Preview | None, list[Place]]] = {}
    examined: dict[str, list[Place]] = {}
    found: dict[str, list[Place]] = {}  # by `Run.unseeded`
    for run in {run.unseeded: run for run in runs}.values():  # no seed is a fault
        spec = json.dumps(run.config["data"], sort_keys=True)
        if spec not in known:
            known[spec] = _data(run, engine)
        preview, faults = known[spec]
        seen = [*_devices(run, engine), *_optimizer(run), *_early_stopping(run), *_instruments(run), *faults]
        if preview is not None:
            seen += [*_batch(run, preview), *_draws(run, engine)]
        if preview is not None and not seen:
            # A model may refuse some real numbers, which do not tell packs apart.
            numbers = json.dumps(run.config["model"], sort_keys=True) if len(examined) < EACH else ""
            if (kind := f"{pack_key(run)} {numbers}") not in examined:
                examined[kind] = list(_model(run, preview, engine))
            seen = examined[kind]
        found[run.unseeded] = seen
    if any(found.values()):
        raise ConfigError(_lines(study, runs, found))


def _lines(study: Study, runs: Sequence[Run], found: Mapping[str, list[Place]]) -> list[str]:
    """One line for each fault, with its place in the file; for a run that is not in the file, with its key."""
    asked = {run.id for run in runs}
    numbered = [(i, run) for i, run in enumerate(study.runs) if study.source_map and run.id in asked]
    run_faults = [RunFault(i, keys, text) for i, run in numbered for keys, text in found[run.unseeded]]
    planned = {run.id for _, run in numbered}
    others = [place for run in runs if run.id not in planned for place in found[run.unseeded]]
    lines = study.source_map.lines(run_faults) if study.source_map else []
    return [*lines, *(f"{dotted(keys)}: {text}" for keys, text in others)]


def check_login() -> None:
    """Refuse `--wandb online` if nobody is logged in. This uses files and variables only, not the network.

    Raises:
        ValueError: with what to do.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    own = os.environ.get("WANDB_BASE_URL") or _setting("base_url")
    hosts = (urlparse(own).hostname or "",) if own else WANDB
    if not any(map(_is_in_netrc, hosts)):
        raise ValueError(
            f"--wandb online: nobody is logged in to {hosts[0]} on this machine; run `wandb login`, set WANDB_API_KEY, "
            "or go on with --wandb offline and `wandb sync` later"
        )


def _devices(run: Run, engine: Engine) -> Iterator[Place]:
    n, (most, described) = run.train.devices, engine.devices
    if n > 1 and most is not None and n > most:
        yield ("train", "devices"), f"expected at most {most}, {described}, got {n}"


def _optimizer(run: Run) -> Iterator[Place]:
    try:
        OPTIMIZERS.build(run.train.optimizer)
    except ValueError as error:
        yield ("train", "optimizer"), str(error)


def _early_stopping(run: Run) -> Iterator[Place]:
    try:
        _ = run.train.early_stopping and StopEarly(run.train.early_stopping)
    except ValueError as error:
        yield ("train", "early_stopping", "monitor"), str(error).partition(": ")[2]


def _instruments(run: Run) -> Iterator[Place]:
    """Why a metric or an estimator of a user's file cannot be made. Without this, it would be known after training."""
    metrics = METRICS.measured_by_default() if run.evaluate.metrics is None else run.evaluate.metrics
    chosen: list[tuple[Registry[Any], str, Spec]] = [(METRICS, "metrics", spec) for spec in metrics]
    chosen += [(ESTIMATORS, "estimators", spec) for spec in run.evaluate.estimators]
    for registry, key, spec in chosen:
        name = spec if isinstance(spec, str) else spec["name"]
        if registry.origin(name) is not None:
            try:
                registry.build(spec)
            except Exception as error:
                yield ("evaluate", key), f"{name} cannot be made: {reason_of(error, run)}"


def _data(run: Run, engine: Engine) -> tuple[Preview | None, list[Place]]:
    """What is known about a run's data before it is loaded, and its faults."""
    try:
        dataset = DATASETS.build(run.data)
        return dataset.preview(data_root()) if engine.is_here else None, []
    except (ValueError, OSError) as error:
        is_path = "path" in run.config["data"] and isinstance(error, OSError)
        return None, [(("data", "path") if is_path else ("data",), " ".join(str(error).split()))]
    except Exception as error:
        if DATASETS.origin(run.config["data"]["name"]) is None:
            raise
        return None, [(("data",), reason_of(error, run))]


def _batch(run: Run, preview: Preview) -> Iterator[Place]:
    name, n = run.config["data"]["name"], preview.training
    if n < 1:
        yield ("data",), f"expected at least one training example, got none of {name}; give more"
    elif run.train.batch_size > n:
        text = f"expected at most {n}, the training examples of {name}, got {run.train.batch_size}; lower it"
        yield ("train", "batch_size"), text


def _draws(run: Run, engine: Engine) -> Iterator[Place]:
    """Why the log-densities of all draws of a batch cannot be held by this machine."""
    needed = PER_DRAW * run.evaluate.draws * run.train.batch_size
    if engine.is_here and needed > (held := capacity()):
        text = f"{run.evaluate.draws} draws of a batch need about {needed / 2**30:.3g} GiB, and this machine has "
        yield ("evaluate", "draws"), f"{text}{held / 2**30:.3g} GiB; lower it, or train.batch_size"


def _model(run: Run, preview: Preview, engine: Engine) -> Iterator[Place]:
    """Why a model cannot be built for such data, or does not fit into this machine's memory."""
    made = meta_model(run.model, preview.shape)
    if made is None:
        try:
            with torch.device("meta"):
                MODELS.build(run.model, preview.shape, 0)
        except ValueError as error:
            yield ("model",), " ".join(str(error).split())
        except Exception as error:  # an error of another kind: this model cannot be built on the meta device
            if isinstance(error, NameError | AttributeError | ImportError | TypeError) and run.imports:
                yield ("model",), reason_of(error, run)
    elif made.likelihood.refits and run.train.devices > 1:
        name = type(made.likelihood).__name__
        yield ("train", "devices"), f"{name} takes its variance from a whole batch; expected 1, got {run.train.devices}"
    elif engine.is_here:
        try:
            check_fits([made], run.train.batch_size)
        except TooLargeError as error:
            yield ("model",), str(error)


def _is_in_netrc(host: str) -> bool:
    """Whether a netrc file has a password for a host."""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path("~/.netrc"), Path("~/_netrc")]:
        with suppress(OSError, RuntimeError, netrc.NetrcParseError, UnicodeDecodeError):
            if netrc.netrc(path.expanduser()).authenticators(host):
                return True
    return False


def _setting(name: str) -> str | None:
    """A setting of W&B: from the file in this folder, else from the user's file."""
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    for path in (Path("wandb/settings"), Path(folder) / "settings"):
        settings = ConfigParser(interpolation=None)
        with suppress(OSError, RuntimeError, BadSettings, UnicodeDecodeError):
            settings.read(path.expanduser(), encoding="utf-8")
            if value := settings.get("default", name, fallback=None):
                return value
    return None


class PlannedPack(NamedTuple):
    """Runs that would train together."""

    runs: list[Run]  # the members
    bytes: int | None  # about how much memory their training needs; None where it is not known before
    seconds: float | None  # about how long they take, from records of such runs; None without one

    @property
    def cost(self) -> str:
        """Memory and time, in words."""
        memory = "memory unknown" if self.bytes is None else f"about {self.bytes / 2**20:.0f} MiB"
        return f"{memory}, {'time unknown' if self.seconds is None else f'about {self.seconds:.0f} s'}"


def dry_run(pending: Sequence[Run], engine: Engine, max_size: int, folders: Iterable[Path]) -> list[PlannedPack]:
    """The packs of a sweep, in the order in which they would start.

    Args:
        max_size: members of the largest pack.
        folders: where records of such runs may lie; their times are the estimate.
    """
    known, bytes_of = _seconds(folders), dict[str, int | None]()
    planned = []
    for pack in packs_of(pending, max_size, engine.workers):
        if (kind := pack_key(pack[0])) not in bytes_of:
            bytes_of[kind] = _bytes(pack[0], engine)
        each, times = bytes_of[kind], [known.get(run.id) or known.get(kind) for run in pack]
        seconds = None if None in times else sum(filter(None, times))
        planned.append(PlannedPack(pack, None if each is None else each * len(pack), seconds))
    return planned


def duration(packs: Sequence[PlannedPack], workers: int) -> str:
    """About how long the sweep takes, on one line.

    >>> duration([PlannedPack([], None, 30.0), PlannedPack([], None, 10.0)], 2)
    'about 30 s with 2 workers, from the records of such runs'
    """
    seconds = [pack.seconds for pack in packs]
    if unknown := seconds.count(None):
        return f"time unknown: of {unknown} of {len(packs)} packs there is no record of such a run"
    known = [s for s in seconds if s is not None]
    longest = max(sum(known) / workers, *known, 0.0)
    return f"about {longest:.0f} s with {workers} worker{'s' * (workers != 1)}, from the records of such runs"


def _seconds(folders: Iterable[Path]) -> dict[str, float]:
    """Seconds of a run, by its id and by what it shares with its pack (there the mean over the records)."""
    found: dict[str, list[float]] = {}
    for path in (path for folder in folders for path in record_paths(folder)):
        try:
            one = record.read(path)
            keys = [one.id, pack_key(Run.of(one.config))]
        except (OSError, ValueError, RecordError):
            continue  # a damaged record, or one of an earlier version, says nothing about time
        if seconds := float(sum((one.provenance.get("seconds") or {}).values())):
            for key in keys:
                found.setdefault(key, []).append(seconds)
    return {key: sum(seconds) / len(seconds) for key, seconds in found.items()}


def _bytes(run: Run, engine: Engine) -> int | None:
    """What one member of a pack needs."""
    preview = DATASETS.build(run.data).preview(data_root()) if engine.is_here else None
    model = None if preview is None else meta_model(run.model, preview.shape)
    return None if model is None else needs([model], run.train.batch_size)
