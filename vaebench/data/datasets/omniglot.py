"""Omniglot: drawings of many characters, with few drawings of each."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits, training_size
from vaebench.data.datasets.fetch import fetched

SIZE = 28
"""The number of pixels of each side after resizing. The drawings have 105."""


@DATASETS.register
class Omniglot(Dataset):
    """32 460 drawings of 1623 characters, resized to 28 × 28, strokes 1 on 0 (Lake et al. 2015).

    The background alphabets are the training set, with 10 % of the drawings held out for validation. The evaluation
    alphabets are the test set. The label is the character. No character of the test set is in the training set.
    """

    support = "unit"

    def load(self, root: Path) -> Splits:
        background, evaluation = _half(root, True), _half(root, False)
        first = int(background[1].max()) + 1
        test = _examples(evaluation[0], evaluation[1] + first)
        return Splits.official(_examples(*background), test, scale=255.0, validation=self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(19_280, self.held_out()), (1, SIZE, SIZE))


def _examples(images: np.ndarray, label: np.ndarray) -> Examples:
    return Examples(torch.from_numpy(images)[:, None], torch.from_numpy(label))


@lru_cache(maxsize=2)
def _half(root: Path, background: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one half. They are cached, because all runs of a sweep need the same thousands of files."""
    from PIL import Image

    needs = "omniglot-py/images_background.zip, omniglot-py/images_evaluation.zip and the folders unpacked from them"
    folder = Path(fetched("Omniglot", root, needs, background=background).target_folder)
    # Sorted, because torchvision uses the order of the file system, which differs between machines.
    files = sorted(folder.glob("*/*/*.png"), key=Path.as_posix)
    classes = {place: n for n, place in enumerate(dict.fromkeys(file.parent for file in files))}
    images = np.empty((len(files), SIZE, SIZE), dtype=np.uint8)
    for row, file in zip(images, files, strict=True):
        with Image.open(file) as drawing:
            row[:] = 255 - np.asarray(drawing.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX))
    return images, np.array([classes[file.parent] for file in files], dtype=np.int64)
