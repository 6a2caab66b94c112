"""Labels: what varies, in the order of the file, in words that tell rows apart."""

import random

import pytest

from vaebench.reporting.tables.labels import describe, labels, merged_axes, natural

VAE = {"name": "VAE", "latent_dim": 4}


def named(configs: list[dict], axes: list[str]) -> dict[str, tuple[str, ...]]:
    return {label.key: label.texts for label in labels(configs, axes)}


def test_axes_come_in_the_order_of_the_file_and_without_the_seed():
    configs = [{"model": {"name": "VAE", "beta": b}, "train": {"epochs": e}} for b in (0.1, 4.0) for e in (1, 2)]
    made = labels(configs, ["train.epochs", "model.beta", "seed"])
    assert [(c.path, c.key) for c in made] == [("train.epochs", "epochs"), ("model.beta", "beta")]
    assert made[1].texts == ("0.1", "0.1", "4", "4")


def test_an_axis_with_one_value_is_no_label_and_a_stray_difference_is_one():
    configs = [{"model": {"name": "VAE", "beta": 1.0}, "train": {"epochs": e}} for e in (1, 2)]
    assert named(configs, ["model.beta", "seed"]) == {"epochs": ("1", "2")}


def test_where_nothing_varies_the_class_is_the_label():
    assert named([{"model": VAE}], ["model.beta", "seed"]) == {"model": ("VAE",)}


def test_a_section_is_called_by_its_class_and_by_what_differs_within_it():
    network = [{"name": "MLP", "hidden": [64]}, {"name": "Conv", "channels": [8]}, {"name": "MLP", "hidden": [8]}]
    models = [
        {"name": "AE", "latent_dim": 4},
        *({"name": "VAE", "latent_dim": 4, "network": n} for n in network),
        *({"name": "BetaVAE", "latent_dim": 4, "beta": b} for b in (0.5, 4.0)),
    ]
    assert named([{"model": m} for m in models], ["model", "seed"])["model"] == (
        "AE",
        "VAE (network=MLP (hidden=[64]))",
        "VAE (network=Conv)",
        "VAE (network=MLP (hidden=[8]))",
        "BetaVAE (beta=0.5)",
        "BetaVAE (beta=4)",
    )


@pytest.mark.parametrize("axes", [["model.name", "seed"], ["model"], []])
def test_an_axis_of_classes_labels_the_component_once(axes):
    configs = [{"model": {"name": "VAE"}}, {"model": {"name": "BetaVAE", "beta": 1.0}}]
    assert named(configs, axes) == {"model": ("VAE", "BetaVAE")}


def test_an_axis_inside_a_section_has_a_column_of_its_own():
    configs = [{"model": {"name": n, "latent_dim": d}} for n in ("AE", "VAE") for d in (2, 8)]
    assert named(configs, ["model", "model.latent_dim"]) == {
        "model": ("AE", "AE", "VAE", "VAE"),
        "latent_dim": ("2", "8", "2", "8"),
    }


def test_leaves_of_one_name_get_their_whole_path():
    configs = [{"model": {"seed_": a}, "data": {"seed_": b}} for a in (1, 2) for b in (3, 4)]
    assert list(named(configs, ["model.seed_", "data.seed_"])) == ["model.seed_", "data.seed_"]


def test_plain_values_are_written_as_a_reader_writes_them():
    assert [describe(v, []) for v in (4.0, 1e-5, None, True, [64, 64], "Dynamic")] == [
        "4", "1e-05", "none", "true", "[64, 64]", "Dynamic",
    ]  # fmt: skip


def test_numbers_are_ordered_as_numbers():
    ordered = ["-1", "0.1", "1e-05", "4", "10", "VAE (beta=0.5)", "VAE (beta=4)", "VAE (beta=10)", "none"]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural) == ["-1", "1e-05", *[t for t in ordered if t not in ("-1", "1e-05")]]


def test_axes_of_several_sweeps_merge_to_one_order():
    many = [["seed"], ["model.beta", "seed"], ["train.epochs", "model.beta", "seed"]]
    merged = ["train.epochs", "model.beta", "seed"]
    assert merged_axes(many) == merged_axes(many[::-1]) == merged
