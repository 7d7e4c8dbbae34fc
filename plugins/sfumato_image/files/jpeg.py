"""JPEG, 8 bits, grey or RGB.

Reading keeps the quantisation tables: they say how exactly the file knows each coefficient, which
is what restoring it needs. Writing rounds again, so a restored picture is stored no more coarsely
than at quality 95: entry by entry, the finer of the file's own table and that one. A file that was
finer throughout is written with its own tables and chroma sampling. A simulated file, whose bytes
``meta["encoded"]`` carries, is written as it is, as long as the picture is the one in it.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from sfumato.errors import UnreadableFileError
from sfumato.files import atomic_file
from sfumato.signals import Signal
from sfumato_image.files.pixels import profile_for, split_exif, to_pixels, to_signal
from sfumato_image.files.reading import check_size, reading

__all__ = ["JPEG"]

QUALITY = 95


@dataclass(frozen=True)
class JPEG:
    """JPEG; lossy, without alpha."""

    suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".jpe")

    def read(self, path: Path) -> Signal:
        """Reads a picture and its quantisation tables.

        Raises:
            UnreadableFileError: If the file is missing, damaged, too large or CMYK.
        """
        path = Path(path)
        with reading(path, "JPEG"), quiet(), Image.open(path, formats=["JPEG"]) as image:
            check_size(path, *image.size)
            if image.mode not in ("L", "RGB"):
                raise UnreadableFileError(
                    path, f"its colours are {image.mode}", "convert it to RGB first"
                )
            assert isinstance(image, JpegImageFile)
            image.load()
            exif, orientation = split_exif(image.info.get("exif"))
            meta = {
                "format": "JPEG",
                "exif": exif,
                "icc": image.info.get("icc_profile"),
                "dpi": image.info.get("dpi"),
                "jpeg": coding(image),
            }
            return to_signal(np.asarray(image), path, meta, orientation=orientation)

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a picture; transparent parts keep their colour and lose their transparency.

        Raises:
            UnwritableFileError: If the folder is full or cannot be written.
        """
        pixels = to_pixels(signal, ("uint8",), alpha=False)
        content = encoded(signal, pixels)
        with atomic_file(path) as work:
            work.write_bytes(content)
        return Path(path)


def encoded(signal: Signal, pixels: NDArray[Any]) -> bytes:
    """The bytes to write."""
    meta = signal.meta
    simulated: bytes = meta.get("encoded", b"")
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    if simulated:
        with Image.open(io.BytesIO(simulated)) as image:
            if np.array_equal(np.asarray(image), flat):
                return simulated
    options: dict[str, Any] = {"icc_profile": profile_for(signal), "dpi": meta.get("dpi")}
    if meta.get("exif"):
        options["exif"] = b"Exif\x00\x00" + meta["exif"]
    options |= tables(meta.get("jpeg"), colour=pixels.shape[-1] == 3)
    chosen = {name: value for name, value in options.items() if value is not None}
    stored = io.BytesIO()
    Image.fromarray(flat).save(stored, "JPEG", **chosen)
    return stored.getvalue()


def quiet() -> warnings.catch_warnings[None]:
    """Silences Pillow's warning about large pictures; ``check_size`` has its own limit."""
    return warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)


def coding(image: JpegImageFile) -> dict[str, Any]:
    """Quantisation tables and sampling factors, component by component."""
    tables = image.quantization
    return {
        "tables": tuple(tuple(tables[table]) for _, _, _, table in image.layer),
        "sampling": tuple((h, v) for _, h, v, _ in image.layer),
        "subsampling": get_sampling(image),
        "progressive": bool(image.info.get("progressive", False)),
    }


def tables(coded: dict[str, Any] | None, *, colour: bool) -> dict[str, Any]:
    """What to store with: never coarser than ``QUALITY``."""
    fine = standard(colour)
    if coded is None:
        return {"qtables": fine, "subsampling": 0 if colour else None}
    own = coded["tables"]
    pair = [own[0], finest(own[1:] or own)][: len(fine)]
    kept = len(own) == (3 if colour else 1) and all(
        a <= b
        for mine, best in zip(pair, fine, strict=True)
        for a, b in zip(mine, best, strict=True)
    )
    sampling = coded["subsampling"] if kept and coded["subsampling"] >= 0 else 0
    return {
        "qtables": [finest([mine, best]) for mine, best in zip(pair, fine, strict=True)],
        "subsampling": sampling if colour else None,
        "progressive": coded["progressive"],
    }


def finest(several: Sequence[Sequence[int]]) -> list[int]:
    return [min(entries) for entries in zip(*several, strict=True)]


@functools.cache
def standard(colour: bool) -> list[list[int]]:
    """The encoder's own tables at ``QUALITY``."""
    stored = io.BytesIO()
    Image.new("RGB" if colour else "L", (8, 8)).save(stored, "JPEG", quality=QUALITY)
    with Image.open(stored) as image:
        assert isinstance(image, JpegImageFile)
        return [list(table) for _, table in sorted(image.quantization.items())]
