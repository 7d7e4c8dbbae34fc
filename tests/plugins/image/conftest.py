"""Small real files, written by the libraries that people's own files are written by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def photograph() -> Pixels:
    """A real photograph, ``[48, 64, 3]``: a cat, from scikit-image's own data (CC0)."""
    from skimage import data

    cat: Pixels = data.chelsea()[60:204:3, 110:302:3]
    return np.ascontiguousarray(cat)


@pytest.fixture(scope="session")
def srgb() -> bytes:
    """An ICC profile for RGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="session")
def exif() -> Callable[[int], bytes]:
    """An EXIF block with an orientation and a camera."""

    def block(orientation: int) -> bytes:
        tags = Image.Exif()
        tags[0x0112] = orientation
        tags[0x010F] = "A camera"
        tags.get_ifd(0x8769)[0x9003] = "2021:07:14 10:11:12"
        return tags.tobytes()

    return block


@pytest.fixture
def folder_of_photographs(tmp_path: Path, photograph: Pixels) -> Path:
    """Six pictures of several kinds in two sub-folders, two damaged ones, and a text file."""
    root = tmp_path / "photographs"
    for index, name in enumerate(("a.png", "b.jpg", "c.tif", "d.webp", "e.png", "f.png")):
        place = root / ("cats" if index % 2 else "birds")
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.roll(photograph, 7 * index, axis=1))
        (image.convert("L") if name == "e.png" else image).save(place / name)
    content = (root / "birds" / "a.png").read_bytes()
    (root / "cats" / "cut.png").write_bytes(content[: len(content) // 2])
    (root / "cats" / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("not a picture")
    return root
