"""TIFF with 8 or 16 bits or floating point, grey, RGB or palette, with or without alpha.

Kept on output: bit depth, lossless compression, ICC profile, resolution and the text tags. EXIF and
GPS sub-directories, tiles and pyramids are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato.files import atomic_file
from sfumato.signals import Signal
from sfumato_image.files.pixels import FLIPS, profile_for, to_pixels, to_signal
from sfumato_image.files.reading import check_size, reading

__all__ = ["TIFF"]

TEXTS = (270, 271, 272, 305, 306, 315, 33432)  # description, maker, model, software, date, …
LOSSLESS = ("NONE", "LZW", "ADOBE_DEFLATE", "ZSTD")
PHOTOMETRIC = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR")
DEPTHS = ("uint8", "uint16", "float32", "float16", "float64")
INCH = 2  # code of the unit; 3 is the centimetre


@dataclass(frozen=True)
class TIFF:
    """Tagged Image File Format; lossless."""

    suffixes: tuple[str, ...] = (".tif", ".tiff")

    def read(self, path: Path) -> Signal:
        """Reads a picture; floating-point numbers as they are, whatever their range.

        Raises:
            UnreadableFileError: If the file is missing, damaged, too large, holds several pages,
                or is CMYK, Lab or of more than 4 channels.
        """
        path = Path(path)
        with reading(path, "TIFF"), tifffile.TiffFile(path) as file:
            page = file.pages.first
            check_size(path, page.imagewidth, page.imagelength)
            check_kind(path, file, page)
            tags = page.tags
            meta = {
                "format": "TIFF",
                "exif": None,
                "icc": tags.valueof(34675),
                "dpi": resolution(tags),
                "compression": page.compression.name,
                "extra": tuple(int(kind) for kind in page.extrasamples),
                "tags": tuple(
                    (code, tags.valueof(code))
                    for code in TEXTS
                    if isinstance(tags.valueof(code), str)
                ),
            }
            orientation = int(tags.valueof(274, default=1))
            pixels = decoded(page)
            return to_signal(
                pixels, path, meta, orientation=orientation if orientation in FLIPS else 1
            )

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a picture; whatever was compressed with loss is compressed without.

        Raises:
            UnwritableFileError: If the folder is full or cannot be written.
        """
        meta = signal.meta
        pixels = to_pixels(signal, DEPTHS)
        colour = signal.data.shape[0] == 3
        compression = meta.get("compression", "ADOBE_DEFLATE")
        dpi = meta.get("dpi")
        with atomic_file(path) as work:
            tifffile.imwrite(
                work,
                pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels,
                photometric="rgb" if colour else "minisblack",
                planarconfig="contig" if pixels.shape[-1] > 1 else None,
                extrasamples=alpha_kind(meta) if pixels.shape[-1] in (2, 4) else None,
                compression=compression if compression in LOSSLESS else "ADOBE_DEFLATE",
                iccprofile=profile_for(signal),
                resolution=dpi,
                resolutionunit=INCH if dpi else None,
                extratags=[(code, 2, 0, text, True) for code, text in meta.get("tags", ())],
                metadata=None,
                software=False,
            )
        return Path(path)


def check_kind(path: Path, file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    whole = [p for p in file.pages if not int(p.subfiletype) & 1]  # 1: a reduced copy
    if len(whole) > 1 or file.series[0].size != page.size:
        count = max(len(whole), file.series[0].size // max(page.size, 1))
        raise UnreadableFileError(path, f"it holds {count} pictures", "save them one by one")
    name = page.photometric.name
    if name not in PHOTOMETRIC or (name == "YCBCR" and page.compression.name != "JPEG"):
        raise UnreadableFileError(path, f"its colours are {name}", "convert it to RGB first")
    if page.imagedepth > 1:
        raise UnreadableFileError(path, "it is a volume", "save one slice")
    if page.bitspersample not in (1, 8, 16, 32, 64):
        raise UnreadableFileError(
            path, f"it has {page.bitspersample} bits per sample", "convert it to 8 or 16 bits"
        )


def decoded(page: tifffile.TiffPage) -> NDArray[Any]:
    """Numbers as ``[height, width, …]`` with black at 0."""
    pixels: NDArray[Any] = page.asarray()
    if page.axes.startswith("S"):  # channels stored one after the other
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric.name == "PALETTE":
        colours: NDArray[Any] = np.moveaxis(page.colormap[:, pixels], 0, -1)
        whole = (colours % 257 == 0).all() or (colours % 256 == 0).all()
        return (colours >> 8).astype(np.uint8) if whole else colours
    if page.photometric.name == "MINISWHITE":
        top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        negative: NDArray[Any] = ~pixels if pixels.dtype == np.bool_ else top - pixels
        return negative
    return pixels


def resolution(tags: tifffile.TiffTags) -> tuple[float, float] | None:
    pair = [tags.valueof(code) for code in (282, 283)]
    unit = {2: 1.0, 3: 2.54}.get(int(tags.valueof(296, default=2)))
    if unit is None or any(value is None or value[1] == 0 for value in pair):
        return None
    horizontal, vertical = (value[0] / value[1] * unit for value in pair)
    return horizontal, vertical


def alpha_kind(meta: Any) -> tuple[int]:
    """1: colours are multiplied by alpha, 2: they are not; 0: not stated."""
    extra = meta.get("extra") or (2,)
    return (extra[0],)
