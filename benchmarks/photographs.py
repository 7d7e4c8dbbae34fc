"""Photographs that no shipped prior was trained on, as tensors in [0, 1].

``photos``: centre crops of the colour photographs in scikit-image's and scikit-learn's wheels.
``CBSD68``: the 68 colour photographs of the usual denoising test, from a folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["BUNDLED", "Photograph", "centre", "folder_of", "load", "strided"]

BUNDLED = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "china", "flower")
SCIKIT_LEARN = ("china", "flower")


@dataclass(frozen=True)
class Photograph:
    """One picture.

    Args:
        name: Its name without suffix.
        group: ``"photos"`` or ``"CBSD68"``.
        data: ``[3, height, width]``.
    """

    name: str
    group: str
    data: Tensor


def load(names: Sequence[str], data: Path | None, limit: int | None) -> list[Photograph]:
    """The pictures asked for.

    Args:
        names: Of pictures or groups; all if empty.
        data: Folder of CBSD68; without it only the bundled ones.
        limit: At most so many of CBSD68, evenly spaced.
    """
    found = [Photograph(name, "photos", bundled(name)) for name in BUNDLED if wanted(name, names)]
    paths = [] if data is None else strided(sorted(data.glob("*.png")), limit)
    found += [
        Photograph(path.stem, "CBSD68", tensor(np.asarray(Image.open(path).convert("RGB"))))
        for path in paths
        if path.stem in names or not names or "CBSD68" in names
    ]
    if not found:
        raise SystemExit(f"no picture is called {' or '.join(names)}")
    return found


def grey(folder: Path) -> list[Photograph]:
    """The grey pictures of a folder."""
    found = []
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("L"))
        found.append(Photograph(path.stem, folder.name, tensor(pixels[..., None])))
    return found


def wanted(name: str, names: Sequence[str]) -> bool:
    return not names or name in names or "photos" in names


def strided(paths: list[Path], limit: int | None) -> list[Path]:
    """Every k-th, so that ``limit`` are left."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[i * len(paths) // limit] for i in range(limit)]


def folder_of(given: Path | None) -> Path | None:
    """Where CBSD68 lies: as given, or below the folder that SFUMATO_DATA names."""
    if given is not None:
        if not any(given.glob("*.png")):
            raise SystemExit(f"'{given}' holds no PNG files")
        return given
    folder = Path(os.environ.get("SFUMATO_DATA", "/nowhere")) / "images" / "CBSD68"
    return folder if folder.is_dir() else None


def bundled(name: str) -> Tensor:
    """A photograph out of a wheel."""
    if name in SCIKIT_LEARN:
        from sklearn.datasets import load_sample_image

        return tensor(load_sample_image(f"{name}.jpg"))
    from skimage.data import data_dir

    suffix = ".jpg" if name == "rocket" else ".png"
    return tensor(np.asarray(Image.open(Path(data_dir) / f"{name}{suffix}").convert("RGB")))


def centre(picture: Tensor, size: int) -> Tensor:
    """The central square, at most ``size`` wide."""
    height, width = picture.shape[1:]
    if min(height, width) < size:
        raise SystemExit(f"a picture of {height}×{width} has no {size}×{size} crop")
    top, left = (height - size) // 2, (width - size) // 2
    return picture[:, top : top + size, left : left + size].contiguous()


def tensor(array: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
