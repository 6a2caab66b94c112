"""Compiled steps of a pack have the plain program's numbers to rounding; without a compiler steps stay plain."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import trainer

from vaebench.config.registry import MODELS, OPTIMIZERS
from vaebench.data.datasets.published import Digits
from vaebench.models.base import Autoencoder
from vaebench.training.checkpoints import Snapshot
from vaebench.training.packed import compiled
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack

ABSENT = shutil.which(os.environ.get("CXX") or "g++") is None

BATCH, EPOCHS, STOP = 126, 5, 25  # nine full batches of the training digits and a short one: 50 steps


def needs_compiler(test: Any) -> Any:
    """A test that compiles, which takes half a minute, and longer beside other work."""
    present = pytest.mark.skipif(ABSENT, reason="no compiler for C++ (g++) is installed")
    return pytest.mark.slow(pytest.mark.timeout(1200)(present(test)))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libraries lie. Tests of one shape share one, so each is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, libraries: Path) -> Path:
    """Compile, however little that saves."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(libraries))
    for name, value in {"LOADING": 0.0, "COMPILING": 0.0}.items():
        monkeypatch.setattr(compiled, name, value)
    return libraries / "vaebench" / "steps"


def build(name: str, seed: int = 0, **keywords: Any) -> Autoencoder:
    network = {"network": {"name": "MLP", "hidden": [16]}}
    return MODELS.build({"name": name, "latent_dim": 3, **network, **keywords}, (1, 8, 8), seed)


def trained(
    members: Sequence[Autoencoder], compiles: bool, snapshots: list[Snapshot] | None = None, **keywords: Any
) -> tuple[Pack, list[dict[str, Any]]]:
    """The trained pack, and the curve of each member; `snapshots` gets one of each after STOP steps."""

    def take() -> None:
        if snapshots is not None and pack.steps_done == STOP:
            snapshots.extend(pack.snapshot(i) for i in range(len(members)))

    pack = Pack(members, compiles=compiles, between_steps=take, **keywords)
    data = PackedData(Digits(binarize="Dynamic"), [m.seed for m in members], batch_size=BATCH)
    trainer(EPOCHS).fit(pack, datamodule=data)
    return pack, [c.columns for c in pack.logs.curves]


def rows(pack: Pack) -> torch.Tensor:
    return pack.stacks.matrix.values


CLIPS = (None, 3.0, None, 3.0, None)


def five(second: Autoencoder | None = None) -> list[Autoencoder]:
    """Members with four seeds and two learning rates. All tests of them have CLIPS, so that they share a library."""
    first = [build("BetaVAE"), second or build("BetaVAE", 1), build("BetaVAE", 1, beta=2.0), build("BetaVAE", 2)]
    return [*first, build("BetaVAE", 3, learning_rate=3e-3)]


@pytest.mark.parametrize(("cost", "step"), [("LOADING", "record"), ("COMPILING", "build")])
def test_what_costs_more_than_it_saves_is_not_done(cost, step, monkeypatch, at_once):
    """A library is not looked up for a short training; for a longer one it is used if it is there, but not compiled."""
    called: list[str] = []
    monkeypatch.setattr(compiled, cost, 1e9)
    monkeypatch.setattr(compiled, step, lambda *_, **__: called.append(step))
    pack, curves = trained([build("VAE")], compiles=True)
    _, expected = trained([build("VAE")], compiles=False)
    assert called == []
    assert pack.compiled is not None
    assert pack.compiled.taken == 0
    assert curves == expected


def test_without_a_compiler_the_steps_stay_plain_and_one_line_says_so(monkeypatch, at_once, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING, compiled.__name__):
        pack, curves = trained([build("VAE")], compiles=True)
    plain, expected = trained([build("VAE")], compiles=False)
    assert curves == expected
    assert torch.equal(rows(pack), rows(plain))
    (line,) = [r.getMessage() for r in caplog.records if r.name == compiled.__name__]
    assert line.startswith(
        "the training step is not compiled: no-such-compiler, the compiler for C++, is not installed"
    )


def test_a_folder_that_cannot_be_written_leaves_the_steps_plain(monkeypatch, at_once, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(compiled, "check_compiler", lambda: None)
    with caplog.at_level(logging.WARNING, compiled.__name__):
        pack, _ = trained([build("VAE")], compiles=True)
    assert pack.compiled is not None
    assert pack.compiled.taken == 0
    assert caplog.messages[-1].startswith("the training step is not compiled: ")


def check_rounding(pack: Pack, curves: Sequence[Any], other: Pack, expected: Sequence[Any]) -> None:
    """As for a pack and the plain model: objectives agree to 1e-6, the weights to 1e-5 of their norm."""
    assert bool(((rows(pack) - rows(other)).norm(dim=1) < 1e-5 * rows(other).norm(dim=1)).all())
    for curve, columns in zip(curves, expected, strict=True):
        for name, column in columns.items():
            assert curve[name] == pytest.approx(column, rel=1e-6)


@needs_compiler
@pytest.mark.parametrize("name", ["BetaVAE", "IWAE"])
def test_compiled_steps_have_the_plain_numbers_to_rounding(name, at_once):
    def members() -> list[Autoencoder]:
        return five() if name == "BetaVAE" else [build(name, seed) for seed in range(2)]

    clips = CLIPS if name == "BetaVAE" else None
    pack, curves = trained(members(), compiles=True, clips=clips)
    plain, expected = trained(members(), compiles=False, clips=clips)
    assert pack.compiled is not None
    assert pack.compiled.taken == 9 * EPOCHS
    check_rounding(pack, curves, plain, expected)


@needs_compiler
def test_a_member_that_diverges_in_a_compiled_pack_stops_alone(at_once):
    """The others have the bits that they have beside a healthy member. One step of it is enough to diverge."""
    pack, curves = trained(five(build("BetaVAE", 1, learning_rate=1e18)), compiles=True, clips=CLIPS)
    beside, expected = trained(five(), compiles=True, clips=CLIPS)
    assert pack.is_training == [True, False, True, True, True]
    for i in (0, 2, 3, 4):
        assert curves[i] == expected[i]
        assert torch.equal(rows(pack)[i], rows(beside)[i])


@needs_compiler
@pytest.mark.parametrize("goes_on_compiled", [True, False])
def test_a_compiled_pack_goes_on_with_and_without_a_compiler(at_once, goes_on_compiled):
    taken: list[Snapshot] = []
    whole, expected = trained(five(), compiles=True, snapshots=taken, clips=CLIPS)
    resumed, curves = trained(five(), compiles=goes_on_compiled, start=taken, clips=CLIPS)
    assert resumed.steps_done == whole.steps_done
    check_rounding(resumed, curves, whole, expected)
    if goes_on_compiled:
        assert curves == expected
        assert torch.equal(rows(resumed), rows(whole))


@needs_compiler
def test_a_compiled_member_has_the_bits_it_has_alone(at_once):
    """Its latent units and its batch fill no whole registers and cache lines; another learning rate is beside it."""
    many, curves = trained(five(), compiles=True, clips=CLIPS)
    alone, expected = trained(five()[1:2], compiles=True, clips=CLIPS[1:2])
    assert curves[1:2] == expected
    assert torch.equal(rows(many)[1:2], rows(alone))


@needs_compiler
def test_an_optimiser_without_a_formula_takes_its_step_outside_the_library(at_once):
    def members() -> list[Autoencoder]:
        return [build("VAE", seed, learning_rate=0.01) for seed in range(2)]

    own = [OPTIMIZERS.build({"name": "SGD", "momentum": 0.9})] * 2
    pack, curves = trained(members(), compiles=True, optimizers=own)
    plain, expected = trained(members(), compiles=False, optimizers=own)
    assert pack.compiled is not None
    assert pack.compiled.taken == 9 * EPOCHS
    check_rounding(pack, curves, plain, expected)
