"""WebP, 8 bits, RGB with or without alpha; lossless files stay lossless.

WebP has no grey pictures; a grey signal is written as RGB with three equal channels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sfumato.errors import UnreadableFileError, UnwritableFileError
from sfumato.files import atomic_file
from sfumato.signals import Signal
from sfumato_image.files.jpeg import QUALITY, quiet
from sfumato_image.files.pixels import split_exif, to_pixels, to_signal
from sfumato_image.files.reading import check_size, reading

__all__ = ["WebP"]

LONGEST = 16_383


@dataclass(frozen=True)
class WebP:
    """WebP; lossless unless the file it came from was not."""

    suffixes: tuple[str, ...] = (".webp",)

    def read(self, path: Path) -> Signal:
        """Reads a picture.

        Raises:
            UnreadableFileError: If the file is missing, damaged, animated or too large.
        """
        path = Path(path)
        with reading(path, "WebP"):
            content = path.read_bytes()
            with quiet(), Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
                check_size(path, *image.size)
                if getattr(image, "is_animated", False):
                    raise UnreadableFileError(path, "it is animated", "extract one frame")
                image.load()
                exif, orientation = split_exif(image.info.get("exif"))
                meta = {
                    "format": "WebP",
                    "exif": exif,
                    "icc": image.info.get("icc_profile"),
                    "dpi": None,
                    "lossless": b"VP8L" in content[12:65_536],
                }
                return to_signal(np.asarray(image), path, meta, orientation=orientation)

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a picture; lossy files at quality 95.

        Raises:
            UnwritableFileError: If a side is longer than 16,383 pixels, or the folder is full or
                cannot be written.
        """
        grey = signal.data.shape[0] == 1
        colour = signal.with_data(signal.data.expand(3, -1, -1)) if grey else signal
        image = Image.fromarray(to_pixels(colour, ("uint8",)))
        if max(image.size) > LONGEST:
            raise UnwritableFileError(path, f"WebP has at most {LONGEST} pixels a side")
        icc = signal.meta.get("icc")
        options: dict[str, Any] = {"icc_profile": icc if icc and icc[16:20] == b"RGB " else None}
        if signal.meta.get("exif"):
            options["exif"] = signal.meta["exif"]
        lossless = bool(signal.meta.get("lossless", True))
        stored = io.BytesIO()
        chosen = {name: value for name, value in options.items() if value is not None}
        image.save(stored, "WEBP", lossless=lossless, quality=QUALITY, exact=True, **chosen)
        with atomic_file(path) as work:
            work.write_bytes(stored.getvalue())
        return Path(path)
