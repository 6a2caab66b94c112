"""The page of `benchmarks/gpu.py`."""

from typing import Any

from bounding import PYTHAE, K
from peers import OURS

LOOP = "pythae's model, data on the GPU"
BFLOAT16 = "vaebench, decoder in bfloat16"

IWAE, FILLED = 50, 100
"""How many times quicker than pythae IWAE-5000 must be, from how many observations on."""


def claimed(row: dict[str, Any]) -> bool:
    """Whether something is claimed of a row of bounds."""
    return row["observations"] >= FILLED


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    parts = {"card": _head, "training": _training, "bounds": _bounds, "thousand": _thousand}
    parts |= {"agreement": _agreement, "shared": _shared}
    lines = [line for name, part in parts.items() if name in found for line in [*part(found), ""]]
    absent = [f"`{name}`" for name in parts if name not in found]
    said = f"Not measured in this run: {', '.join(absent)}; `python benchmarks/gpu.py NAME` does it."
    return "\n".join([*lines, *([said, ""] if absent else [])])


def _head(found: dict[str, Any]) -> list[str]:
    card = found["card"]
    return [
        "# One GPU",
        "",
        f"{card['name']}, torch {card['torch']}; {card['float32'] / 1e12:.0f} TFLOP/s in float32, "
        f"{card['TF32'] / 1e12:.0f} in TF32 (one product of 8192³), {card['bytes'] / 1e12:.1f} TB/s (one copy),",
        f"measured in the same process. {found['beside']} `make gpu` writes this and fails if a claim does.",
    ]


def _training(found: dict[str, Any]) -> list[str]:
    seen, card = found["training"], found["card"]
    real = "MNIST" in seen["data"]
    what = "MNIST" if real else "images of MNIST's shape"
    lines = [
        f"## Training {seen['members']} members of 784-400-400-32",
        "",
        f"{what}, batches of 100. pythae's trainer trains one member after another.",
        "",
        "| | µs a member-step | times pythae | claimed | its model | products alone | Adam's memory alone |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for mode, row in seen["modes"].items():
        products, adam = seen["flop"] / card[mode] * 1e6, seen["bytes"] / card["bytes"] * 1e6
        step = row[OURS] * 1e6
        loop = f"{row['times the loop']:.1f}" if LOOP in row else ""
        lines.append(f"| {OURS}, {mode} | {step:.1f} | {_times(row)} | 30 | {loop} | {products:.1f} | {adam:.1f} |")
    lines += [f"| {name} | {_micro(seen['modes']['float32'].get(name))} | | | | | |" for name in (PYTHAE, LOOP)]
    lines += ["", "| members of a pack, float32 | µs a member-step |", "| --- | --- |"]
    lines += [f"| {n} | {row['step'] * 1e6:.1f} |" for n, row in seen["curve"].items()]
    held = seen["curve"][seen["members"]]["mib"]
    return [*lines, "", f"{seen['members']} members hold {held:.0f} MiB; the planner expects {seen['needs']:.0f} MiB."]


def _thousand(found: dict[str, Any]) -> list[str]:
    row = found["thousand"]
    return [
        f"## {row['members']} members of 64-64-64-10 in one pack",
        "",
        "| | µs a member-step | times pythae | MiB at most | the planner's estimate | whole training of 8 epochs, s |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| {OURS} | {row[OURS] * 1e6:.2f} | {_times(row)} | {row['mib']:.0f} | {row['needs']:.0f} "
        f"| {row['whole']:.1f} |",
        f"| {PYTHAE} | {_micro(row.get(PYTHAE))} | | | | |",
    ]


def _bounds(found: dict[str, Any]) -> list[str]:
    lines = [
        f"## IWAE-{K}",
        "",
        "| decoder, observations | | ms | times vaebench | claimed at least | error, nats |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for net, row in found["bounds"].items():
        for name, value, error in (
            ("matrix products, float32", row["floor"], ""),
            (OURS, row[OURS], f"{row['error']:.1e}"),
            (BFLOAT16, row["bfloat16"], f"{row['bfloat16_error']['iwae']:.1e}; {row['bfloat16_error']['nats']:.1e}"),
            (PYTHAE, row[PYTHAE], ""),
        ):
            if value is not None:
                ratio = row["times"] if name == PYTHAE else value / row[OURS]
                least = IWAE if name == PYTHAE and claimed(row) else ""
                lines.append(f"| {net} | {name} | {value * 1e3:.2f} | {ratio:.2f} | {least} | {error} |")
    return [
        *lines,
        "",
        "Ten observations do not fill the card: their time is what Python takes to start the kernels, so nothing is",
        "claimed of them.",
        "The error of float32 is the largest of a bound against float64. For bfloat16: how far IWAE-5000 moves, and",
        "how far a log-weight moves at most, as means over observations. No bound of any k moves by more than the",
        "second.",
    ]


def _agreement(found: dict[str, Any]) -> list[str]:
    seen = found["agreement"]
    lines = [
        "## The numbers of a GPU",
        "",
        f"{seen['members']} members of conf/beta.yaml, {seen['epochs']} epochs, float32. The largest relative",
        "difference of the mean objective of an epoch, and of ELBO and IWAE on the test split after training.",
        "GPU and CPU have the same weights, batches and noise here, so the difference begins as rounding. Training",
        "makes it grow, as it does between two trainings on one CPU. In a sweep the noise differs too: the numbers",
        "differ like those of two seeds.",
        "",
        "| | first epoch | last epoch | estimates | estimates, nats | same bits |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pair, row in seen.items():
        if not isinstance(row, dict):
            continue
        told = " | ".join(f"{row[k]:.0e}" for k in ("first epoch", "last epoch", "estimates", "nats"))
        lines.append(f"| {pair} | {told} | {'yes' if row['same bits'] else 'no'} |")
    return lines


def _shared(found: dict[str, Any]) -> list[str]:
    lines = ["## One sweep on one GPU", "", "30 runs of conf/beta.yaml, 50 epochs, evaluated with 5000 draws.", ""]
    lines += ["| | s from command to tables | training, s | evaluation, s |", "| --- | --- | --- | --- |"]
    for way, row in found["shared"].items():
        if not isinstance(row, dict):
            lines += ["", f"{way.capitalize()}: {row:.2f}."]
        elif "not run" in row:
            lines.append(f"| {way} | not run: {row['not run']} | | |")
        else:
            lines.append(f"| {way} | {row['seconds']:.1f} | {row['fit']:.1f} | {row['evaluate']:.1f} |")
    return lines


def _times(row: dict[str, Any]) -> str:
    return f"{row['times']:.1f}" if row.get("times") else "pythae is not installed"


def _micro(value: float | None) -> str:
    return "not installed" if value is None else f"{value * 1e6:.0f}"
