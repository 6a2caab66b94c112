"""A trained model for other programs: encoder and decoder as ONNX, or a folder for Hugging Face with a model card."""

import io
import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaebench.models.base import Autoencoder
from vaebench.models.parts.posteriors import unit_stddev
from vaebench.records.files import WEIGHTS, check_writable, write_all
from vaebench.reporting.terminal import measured
from vaebench.sweeps.trained import Trained
from vaebench.training.checkpoints import weights

OPSET = 18  # the version of ONNX's operators

RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""How far a number of an exported part may be from torch's. Both add up float32 products, in other orders."""


class Part(nn.Module):
    """A function of a model as a module."""

    def __init__(self, model: Autoencoder, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, given: Tensor) -> Any:
        return self.function(given)


def onnx(trained: Trained, folder: Path) -> list[Path]:
    """Write `encoder.onnx` (x to the mean and standard deviation of q(z|x)) and `decoder.onnx` (z to the mean of x).

    The number of observations is free. Each file is run by ONNX's reference on random numbers, and written only if it
    agrees with torch: no number differs by more than `ABSOLUTE` + `RELATIVE` · |value|.

    Raises:
        ValueError: if onnx and onnxscript are not installed, or torch's exporter fails or gives other numbers.
    """
    try:
        import onnx as library
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ValueError(f"export to ONNX needs {error.name}: pip install 'vaebench[export]'") from None
    _refuse(folder, [folder / f"{name}.onnx" for name in ("encoder", "decoder")])
    model, numbers = trained.model.cpu().requires_grad_(False), torch.Generator().manual_seed(0)
    x, z = torch.rand(3, *model.shape, generator=numbers), torch.randn(3, model.latent_dim, generator=numbers)
    parts = {
        "encoder": (lambda x: _moments(model.encode(x)), x, "x", ["mean", "stddev"]),
        "decoder": (lambda z: model.decode(z).mean, z, "z", ["x_mean"]),
    }
    files = {}
    for name, (function, example, given, outputs) in parts.items():
        part = Part(model, function).eval()
        try:
            proto = _exported(part, example[:2], given, outputs)
            _check(proto, part, given, example)
        except Exception as error:  # torch's exporter has many types of its own
            raise ValueError(
                f"the {name} of {type(model).__name__} cannot be exported to ONNX: torch's exporter fails or gives "
                f"other numbers ({_cause(error)}); use --to huggingface, or another model or posterior"
            ) from error
        proto.metadata_props.append(library.StringStringEntryProto(key="vaebench", value=json.dumps(trained.origin())))
        content = io.BytesIO()
        library.save_model(proto, content)
        files[folder / f"{name}.onnx"] = content.getvalue()
    return write_all(files)


def _exported(part: Part, example: Tensor, given: str, outputs: list[str]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter, about torch
        program = torch.onnx.export(
            part, (example,), input_names=[given], output_names=outputs, opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},), dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _check(proto: Any, part: Part, given: str, example: Tensor) -> None:
    """Compare what was exported with the model, on another number of observations than it was exported for.

    Raises:
        AssertionError: if it gives other numbers.
    """
    from onnx.reference import ReferenceEvaluator

    wanted = part(example)
    found = ReferenceEvaluator(proto).run(None, {given: example.numpy()})
    for one, other in zip(found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other.detach(), rtol=RELATIVE, atol=ABSOLUTE)


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _moments(posterior: Distribution) -> tuple[Tensor, Tensor]:
    return posterior.mean, unit_stddev(posterior)


def hugging_face(trained: Trained, folder: Path) -> list[Path]:
    """Write `model.safetensors`, `config.json` (how the model is built, and where it comes from) and a model card.

    Raises:
        ValueError: if the model has no record, from which the card is made.
    """
    if trained.made is None or trained.run is None:
        raise ValueError(f"{trained.checkpoint}: has no record, and the model card is made from it; give a run")
    _refuse(folder, [folder / name for name in (WEIGHTS, "config.json", "README.md")])
    config = {"model_type": "vaebench", "library_name": "vaebench", "shape": [*trained.model.shape]}
    config |= {"study": trained.made.study, "run": trained.made.id, **trained.made.config}
    files = {
        folder / WEIGHTS: weights(trained.model, trained.made.id),
        folder / "config.json": (json.dumps(config | {"origin": trained.origin()}, indent=2) + "\n").encode(),
        folder / "README.md": card(trained).encode(),
    }
    return write_all(files)


def card(trained: Trained) -> str:
    """The model card: what the model is, on what it was trained, and every number with its error and its mark."""
    made, config = trained.made, trained.made.config if trained.made else {}
    assert made is not None
    numbers = [measured(e, made.description(e.name)) for e in made.scalars]
    missing = [f"{name}: {reason}" for name, reason in made.not_applicable.items()]
    name, data = config["model"]["name"], config["data"]["name"]
    head = ["---", "library_name: vaebench", f"tags: [autoencoder, {name}]", "datasets: [" + data + "]", "---"]
    command = made.provenance.get("command") or "not known"
    return "\n".join(
        [
            *head, "", f"# {name} on {data}", "",
            f"Run `{made.id}` of the study `{made.study}`, trained and measured by vaebench.", "",
            "```python", "import vaebench", "", f'model = vaebench.load("{made.id}")  # where runs/ is', "```", "",
            f"Trained by `{command}` at commit {made.provenance.get('commit') or 'unknown'}.", "",
            "## Configuration", "", "```json", json.dumps(config, indent=2), "```", "",
            f"## Measured on the {made.comparability.get('split')} split", "",
            "In nats per observation, unless another unit is given.", "", "```", *numbers, "```", "",
            *(["Not measured:", "", *(f"- {line}" for line in missing), ""] if missing else []),
        ]
    )  # fmt: skip


def push(folder: Path, repository: str) -> str:
    """Upload the folder with the user's own login, and return its address.

    Raises:
        ValueError: if huggingface_hub is not installed, or nobody is logged in.
    """
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ValueError("--push needs huggingface_hub: pip install huggingface_hub, then `hf auth login`") from None
    if huggingface_hub.get_token() is None:
        raise ValueError("--push: nobody is logged in to Hugging Face; run `hf auth login`")
    huggingface_hub.create_repo(repository, exist_ok=True)
    return str(huggingface_hub.upload_folder(repo_id=repository, folder_path=str(folder)))


def _refuse(folder: Path, files: Iterable[Path]) -> None:
    """Refuse a folder that cannot be written, or that has these files, before anything is computed."""
    if there := [str(path) for path in files if path.exists()]:
        raise FileExistsError(f"{', '.join(there)}: exists already; choose another folder by --out")
    check_writable(folder)
