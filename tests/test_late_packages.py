"""Packages that are imported part by part have every name that they have otherwise."""

import subprocess
import sys

import pytest

from vaebench.data.late_packages import PACKAGES


def in_a_process(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_metric_needs_no_sound_no_pictures_and_no_compiler() -> None:
    unused = ("scipy.signal", "torchvision", "torchmetrics.audio", "torchmetrics.functional.text", "torch._inductor")
    code = (
        "import vaebench, sys, torchmetrics\nfrom torchmetrics import Metric, __version__\n"
        "from torchmetrics.functional.image import structural_similarity_index_measure\n"
        f"print(Metric.__module__, *[m for m in {unused} if m in sys.modules])"
    )
    assert in_a_process(code) == ["torchmetrics.metric"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("packages", [PACKAGES, PACKAGES[::-1]], ids=["outside in", "inside out"])
def test_every_name_is_there(packages: tuple[str, ...]) -> None:
    """Also in the order of the alphabet, which is not that of the package's own imports."""
    code = "import vaebench, importlib\n" + "".join(
        f"package = importlib.import_module({package!r})\n"
        "for name in sorted(package.__all__): assert getattr(package, name) is not None\n"
        f"from {package} import *\n"
        "try: package.no_such_name\nexcept AttributeError as error: print(type(error).__name__)\n"
        for package in packages
    )
    assert in_a_process(code) == ["AttributeError"] * len(packages)


def test_a_name_whose_file_is_not_told_executes_the_whole_package(tmp_path, monkeypatch) -> None:
    """And a submodule, a name under another name, and a constant are found without."""
    (tmp_path / "parted").mkdir()
    files = {
        "__init__": "from parted.one import f as g\nconstant = 1\nif True:\n    from .two import h\n    whole = 2\n",
        "one": "def f(): return 'f'\n",
        "two": "def h(): return 'h'\n",
        "three": "",
    }
    for name, text in files.items():
        (tmp_path / f"parted/{name}.py").write_text(text)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport vaebench\nfrom vaebench.data import import_hook\n"
        "import_hook.LOADERS['parted'] = import_hook.LateLoader\nimport parted\nfrom parted import three\n"
        "early = [m for m in ('parted.one', 'parted.two') if m in sys.modules]\n"
        "assert (parted.constant, parted.g()) == (1, 'f') and early == [], early\n"
        "assert 'parted.two' not in sys.modules and 'whole' not in vars(parted)\n"
        "print(parted.h(), parted.whole, parted.g())"
    )
    assert in_a_process(code) == ["h", "2", "f"]


def test_matplotlib_is_imported_when_a_metric_is_drawn() -> None:
    code = (
        "import vaebench, sys\nfrom torchmetrics import MeanMetric\nfrom torchmetrics.utilities import plot\n"
        "metric = MeanMetric(); metric.update(1.0)\nprint('matplotlib' in sys.modules)\n"
        "import matplotlib; matplotlib.use('svg')\n"
        "for draw in (metric.plot, metric.plot): figure, axes = draw()\n"
        "print(type(axes) is plot._AX_TYPE, len(axes.lines))"
    )
    assert in_a_process(code) == ["False", "True", "1"]
