"""Pictures of a run: what is asked of the model, the file, and the sheets."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.evaluation.estimators.erased_or_shifted import ErasedOrShifted
from vaebench.evaluation.estimators.evidence import NaiveMonteCarlo
from vaebench.evaluation.image_samples import MOST_PIXELS, PAIRS, POINTS, SAMPLES, SIDE, STEPS, make_images
from vaebench.models.ae import AE
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.vae import VAE
from vaebench.records.arrays import Pictures, coloured, find_pictures, png, read_pictures, sheet, write_pictures
from vaebench.records.files import ARRAYS
from vaebench.reporting.page.gallery import MOST, MOST_DETAILED
from vaebench.reporting.page.gallery import gallery as gallery_of

KL = [0.1, 3.0, 2.0]


@pytest.fixture(scope="module")
def data() -> DataModule:
    made = DataModule(Digits())
    made.setup()
    return made


def vae(**keywords) -> VAE:
    return VAE((1, 8, 8), 0, latent_dim=3, network={"name": "MLP", "hidden": [8]}, likelihood="Gaussian", **keywords)


@pytest.fixture(scope="module")
def seen(data) -> Pictures:
    images = make_images(vae(), data, "test", 0, KL)
    assert images is not None
    return images


def as_pixels(x: torch.Tensor) -> np.ndarray:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


# -- what the model is asked ------------------------------------------------------------------------------------------


def test_reconstructions_are_the_models_of_observations_across_the_split(seen, data):
    x = data.test.x
    chosen = x[torch.arange(PAIRS) * len(x) // PAIRS]
    assert np.array_equal(seen.originals, as_pixels(chosen))
    assert np.array_equal(seen.reconstructions, as_pixels(vae()(chosen).detach()))


def test_units_are_moved_in_the_order_of_their_kl_and_nothing_else_moves(seen, data):
    assert seen.units.tolist() == [2, 3, 1]
    assert seen.traversals.shape == (3, STEPS, 1, 8, 8)
    model = vae()
    code = model.encode(data.test.x[:1]).mean.detach().repeat(STEPS, 1)
    drawn = make_images(model, data, "test", 0, [])
    assert drawn is not None
    assert drawn.units.tolist() == [1, 2, 3]
    for row in range(3):
        code_moved = code.clone()
        code_moved[:, row] = torch.linspace(-3, 3, STEPS)
        expected = as_pixels(model.decode(code_moved).mean.detach())
        assert np.abs(expected.astype(int) - drawn.traversals[row].astype(int)).max() <= 1


def test_a_latent_space_of_two_units_is_shown_from_corner_to_corner(seen, data):
    assert (len(seen.plane), seen.spanned) == (0, None)
    model = VAE((1, 8, 8), 0, latent_dim=2, network={"name": "MLP", "hidden": [8]}, likelihood="Gaussian")
    images = make_images(model, data, "test", 0, [1.0, 2.0])
    assert images is not None
    assert images.plane.shape == (SIDE, SIDE, 1, 8, 8)
    corner = torch.full((1, 2), 1.5341)  # the upper right one: both units at the share 15/16 of N(0, 1)
    expected = as_pixels(model.decode(corner).mean.detach())[0].astype(int)
    assert np.abs(expected - images.plane[0, -1].astype(int)).max() <= 1


def test_codes_are_posterior_means_in_the_units_of_largest_kl_with_their_labels(seen, data):
    chosen = torch.arange(POINTS) * len(data.test.x) // POINTS
    means = vae().encode(data.test.x[chosen]).mean.detach()
    assert np.allclose(seen.codes, means[:, [1, 2]].numpy(), atol=1e-6)
    assert np.array_equal(seen.labels, data.test.label[chosen].numpy())


def test_a_model_without_a_prior_has_no_samples(data):
    model = AE((1, 8, 8), 0, latent_dim=3, network={"name": "MLP", "hidden": [8]})
    images = make_images(model, data, "test", 0, [])
    assert images is not None
    assert (len(images.samples), images.drawn) == (0, None)


@pytest.mark.parametrize("prior", ["StandardNormal", "GaussianMixture", {"name": "VampPrior", "pseudo_inputs": 4}])
def test_the_same_seed_draws_the_same_whatever_was_drawn_before(data, prior):
    model = vae(prior=prior)
    first = make_images(model, data, "test", 7, KL)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = make_images(model, data, "test", 7, KL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(first.samples, again.samples)
    assert first.samples.shape == (SAMPLES, 1, 8, 8)
    assert model.training


def test_what_an_estimator_shows_is_kept_beside_the_rest(seen, data, tmp_path):
    asked = [NaiveMonteCarlo(), ErasedOrShifted()]
    images = make_images(vae(), data, "test", 0, KL, asked)
    assert images.altered.shape == (6, PAIRS, 1, 8, 8)
    assert np.array_equal(images.altered[[0, 3]], np.stack([images.originals, images.reconstructions]))
    write_pictures(images, tmp_path / "a.npz")
    assert np.array_equal(read_pictures(tmp_path / "a.npz").altered, images.altered)
    assert (len(seen.altered), seen.compared) == (0, None)
    with np.load(tmp_path / "a.npz") as found:
        assert "altered" in found
    write_pictures(seen, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        assert "altered" not in found


def test_what_is_no_image_has_no_pictures():
    data = DataModule(LinearGaussian())
    data.setup()
    assert make_images(LinearVAE(data.shape, 0, latent_dim=2), data, "test", 0, []) is None


@pytest.mark.parametrize("latent_dim", [2, 50])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_pixels_have_a_bound_whatever_the_size(shape, latent_dim, tmp_path):
    """Noise, which nothing compresses."""
    from vaebench.evaluation import image_samples

    pairs, samples, units, side = image_samples._counts(int(np.prod(shape)), latent_dim)
    stream = np.random.default_rng(0)
    counts = ((pairs,), (pairs,), (samples,), (units, STEPS), (side, side))
    *made, plane = [stream.integers(0, 256, (*n, *shape), np.uint8) for n in counts]
    codes = stream.normal(size=(200, 2)).astype(np.float32)
    write_pictures(Pictures(*made, np.arange(units), plane, codes, np.arange(200)), tmp_path / "arrays.npz")
    made.append(plane)
    if units > 1:
        assert sum(a.nbytes for a in made) <= MOST_PIXELS
        assert (tmp_path / "arrays.npz").stat().st_size <= 100_000


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_back_and_is_the_same_bytes_again(seen, tmp_path):
    write_pictures(seen, tmp_path / "a.npz")
    write_pictures(read_pictures(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.array_equal(read_pictures(tmp_path / "b.npz").traversals, seen.traversals)


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04 and no more"])
def test_half_a_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "arrays.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"arrays\.npz: not a file of pictures"):
        read_pictures(tmp_path / "arrays.npz")


def test_a_runs_file_is_found_where_it_worked_and_where_it_is_published(seen, tmp_path):
    assert find_pictures(tmp_path, "ab") is None
    write_pictures(seen, tmp_path / "arrays" / "ab.npz")
    assert find_pictures(tmp_path, "ab") == tmp_path / "arrays" / "ab.npz"
    write_pictures(seen, tmp_path / "ab" / ARRAYS)
    assert find_pictures(tmp_path, "ab") == tmp_path / "ab" / ARRAYS


# -- the sheets -------------------------------------------------------------------------------------------------------


def test_a_sheet_has_every_image_in_its_place_and_gaps_that_let_the_page_through():
    grid = np.arange(2 * 3 * 1 * 2 * 2, dtype=np.uint8).reshape(2, 3, 1, 2, 2)
    laid = sheet(grid)
    assert laid.shape == (5, 8, 2)
    assert np.array_equal(laid[3:5, 3:5, 0], grid[1, 1, 0])
    assert not laid[2].any()
    assert not laid[:, 2].any()
    assert laid[..., 1].sum() == 255 * grid.size


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_what_others_read(channels):
    laid = sheet(np.random.default_rng(0).integers(0, 256, (2, 2, channels, 3, 5), np.uint8))
    assert np.array_equal((imread(io.BytesIO(png(laid))) * 255).round().astype(np.uint8), coloured(laid))


def test_a_gallery_shows_the_first_seeds_and_no_more_than_has_room(seen, tmp_path: Path):
    from vaebench.records.record import Record
    from vaebench.reporting.tables import table as tables

    def record(beta: int, seed: int) -> Record:
        config = {"model": {"name": "VAE", "beta": beta}, "seed": seed}
        return Record(id=f"{beta:02x}{seed}", study="s", status="done", axes=["model.beta", "seed"], config=config)

    made = tables.table([record(beta, seed) for beta in range(30) for seed in (0, 1)])
    assert gallery_of(made, tmp_path).matrices == gallery_of(made, None).matrices == ()
    for beta in range(30):
        write_pictures(seen, tmp_path / f"{beta:02x}0" / ARRAYS)
        write_pictures(seen, tmp_path / f"{beta:02x}1" / ARRAYS)
    (matrix,), shown, legend = gallery_of(made, tmp_path)
    assert [setting.title for setting in matrix.settings[:2]] == ["beta=0", "beta=3"]
    assert (len(matrix.settings), len(shown)) == (MOST, MOST_DETAILED)
    assert len({(s.reconstructions.width, s.samples.width) for s in matrix.settings}) == 1  # the same columns
    assert [text for _, text in legend] == [f"class {i}" for i in range(10)]
    assert "var(--c9)" in shown[0].codes.svg
    assert shown[0].title == "beta=0"
    assert [p.caption.split()[0] for p in shown[0].images] == ["A"]
    assert all(p.address.startswith("data:image/png;base64,") for p in shown[0].images)
    assert shown[0].note == "Posterior means in the two units of largest KL"
    without_prior = replace(seen, samples=seen.samples[:0])
    write_pictures(without_prior, tmp_path / "000" / ARRAYS)
    (matrix,), shown, _ = gallery_of(made, tmp_path)
    assert shown[0].note == "Codes, first two units"
    assert [(s.samples is None, s.note) for s in matrix.settings[:2]] == [(True, "no prior"), (False, "")]


def test_settings_of_other_observations_stand_in_another_matrix(seen, tmp_path: Path):
    from vaebench.records.record import Record
    from vaebench.reporting.tables import table as tables

    configs = [{"model": {"name": "VAE", "beta": beta}, "seed": 0} for beta in (1, 2, 3)]
    made = [
        Record(id=f"{i:03x}", study="s", status="done", axes=["model.beta"], config=c) for i, c in enumerate(configs)
    ]
    for record, originals in zip(made, (seen.originals, seen.originals[::-1], seen.originals), strict=True):
        write_pictures(replace(seen, originals=originals), tmp_path / record.id / ARRAYS)
    found = gallery_of(tables.table(made), tmp_path).matrices
    assert [[s.title for s in matrix.settings] for matrix in found] == [
        ["beta=1", "beta=3"],
        ["beta=2"],
    ]
