"""Steps that need nothing from the processor have the bits of ordinary steps; on CUDA they become graphs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_pack import build, check_resume, packed, same_bits, various

from vaebench.data.datasets.published import Digits
from vaebench.training.packed import loaders
from vaebench.training.packed.cuda_graph import GraphedSteps
from vaebench.training.packed.loaders import BLOCK, CHUNK, DeviceBatches, PackedBatches, PackedData


@pytest.fixture
def resident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs train on the CPU as they do on a device."""
    monkeypatch.setattr(loaders, "PackedBatches", DeviceBatches)


PACKS = {
    "annealed": lambda: [build("BetaVAE", seed, schedule="LinearWarmup", learning_rate=0.01 / seed) for seed in (1, 2)],
    "denoising": lambda: various("DenoisingAE", 3),
}


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_has_the_bits_of_ordinary_steps(name, request):
    """A schedule of β, noise of inputs, random pixels, a short last batch, clipping, and two chunks an epoch."""
    clips = [1.0, None, 2.0][: len(PACKS[name]())]
    expected, curves = packed(PACKS[name](), 1, 17, clips=clips)
    request.getfixturevalue("resident")
    pack, found = packed(PACKS[name](), 1, 17, clips=clips)
    assert found == curves
    assert all(same_bits(a, b) for a, b in zip(pack.members, expected.members, strict=True))
    assert pack.steps_done == expected.steps_done == pack.trainer.global_step > CHUNK


def test_a_divergence_is_known_at_the_end_of_the_epoch_with_its_step(request):
    def members() -> list[Any]:
        return [build("BetaVAE", 0), build("BetaVAE", 1, learning_rate=1e18), build("BetaVAE", 2)]

    expected, curves = packed(members())
    request.getfixturevalue("resident")
    pack, found = packed(members())
    assert pack.divergences == expected.divergences
    assert pack.divergences[1] is not None
    assert found == curves
    assert same_bits(pack.members[2], expected.members[2])


@pytest.mark.usefixtures("resident")
def test_a_pack_stops_when_all_members_have_diverged():
    pack, _ = packed([build("VAE", seed, learning_rate=1e18) for seed in range(2)], 50)
    assert None not in pack.divergences
    assert pack.current_epoch < 2


@pytest.mark.usefixtures("resident")
@pytest.mark.parametrize("step", [99, 129], ids=["in a chunk", "between chunks"])
def test_a_resumed_pack_gives_the_numbers_of_one_that_was_never_stopped(step):
    resumed, whole = check_resume(step)
    assert all(same_bits(resumed.members[i], whole.members[i]) for i in (0, 2))


@pytest.mark.parametrize("batch_size", [16, 64, 419, 1257])
@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_every_batch_of_an_epoch_is_read_once(batch_size, skipped):
    """Blocks of at most so many steps, in chunks of as many steps as Lightning expects."""
    data = PackedData(Digits(binarize="Dynamic"), [0, 5], batch_size=batch_size)
    data.setup("fit")
    ordinary, blocks = (kind([data.training(seed) for seed in data.seeds]) for kind in (PackedBatches, DeviceBatches))
    skipped = min(skipped, ordinary.steps_per_epoch - 1)
    for stream in (*ordinary.streams, *blocks.streams):
        stream.load_state_dict(stream.next_epoch() | {"given": skipped})
    expected, found = [x for chunk in ordinary for x in chunk], []
    for chunk in blocks:
        parts = list(chunk)
        assert sum(part.steps for part in parts) <= CHUNK
        assert all(part.steps <= BLOCK for part in parts)
        found += [blocks.read(part.batch_size) for part in parts for _ in range(part.steps)]
        blocks.count(sum(part.steps for part in parts))
    assert len(found) == len(expected) == ordinary.steps_per_epoch - skipped
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for a, b in zip(ordinary.streams, blocks.streams, strict=True):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items() if k != "given")
        assert a.state_dict()["given"] == b.state_dict()["given"] == 0


class FakeGraph:
    """A CUDA graph that is carried out by the CPU: while it records, steps are noted and not computed."""

    recording: "FakeGraph | None" = None
    fails = ""

    def __init__(self) -> None:
        self.noted: list[int] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Any."""

    def pool(self) -> tuple[int, int]:
        return (0, 1)

    def replay(self) -> None:
        assert self.noted
        for batch_size in self.noted:
            DONE.append(batch_size)
        REPLAYED.append(len(self.noted))


class FakeGenerator(torch.Generator):
    """A generator whose state can be replaced, as those of CUDA."""

    replaced_by: torch.Generator | None = None

    def graphsafe_set_state(self, state: torch.Generator) -> None:
        self.replaced_by = state


DONE: list[int] = []
REPLAYED: list[int] = []


def step(batch_size: int) -> None:
    if FakeGraph.recording is None:
        DONE.append(batch_size)
        return
    FakeGraph.recording.noted.append(batch_size)
    if FakeGraph.fails:
        raise RuntimeError(FakeGraph.fails)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    @contextmanager
    def recorded(graph: FakeGraph, pool: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        FakeGraph.recording = graph
        try:
            yield
        finally:
            FakeGraph.recording = None

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", recorded)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "the stream of before")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: REPLAYED.append(stream))
    DONE.clear()
    REPLAYED.clear()
    FakeGraph.fails = ""
    return torch.device("cuda")


def test_a_block_is_recorded_after_the_first_of_its_kind_and_then_started_as_a_whole(cuda):
    steps = GraphedSteps(step, [], cuda)
    for _ in range(3):
        steps.take(64, 10)
        steps.take(5, 1)
    expected = [*[64] * 10, 5] * 3  # nothing is computed twice or left out
    assert expected == DONE
    assert REPLAYED == [10, 1] * 2
    assert steps.failure is None


def test_on_other_devices_nothing_is_recorded(cuda):
    steps = GraphedSteps(step, [], torch.device("cpu"))
    for _ in range(3):
        steps.take(64, 2)
    assert (DONE, REPLAYED) == ([64] * 6, [])


def test_where_nothing_can_be_recorded_the_same_steps_are_started_one_by_one_and_a_message_says_why(cuda, caplog):
    stream = FakeGenerator()
    stream.manual_seed(3)
    steps = GraphedSteps(step, [stream], cuda)
    FakeGraph.fails = "operation not permitted\n when stream is capturing"
    for _ in range(3):
        steps.take(64, 2)
    assert DONE == [64] * 6
    assert steps.failure == "operation not permitted when stream is capturing"
    assert caplog.text.count("no CUDA graph of the training step") == 1
    assert REPLAYED == ["the stream of before"]
    assert stream.replaced_by is not None
    assert torch.equal(stream.replaced_by.get_state(), stream.get_state())
