"""Undoing JPEG compression: what could have been photographed, given what the file says.

A JPEG file holds q = round(c/s): c = D S M x are the block-cosine coefficients (D) of the
subsampled (S) luma and chroma planes (M) of the picture x, s are the steps of its tables. All of
D S M is linear, so the file is a linear measurement of x,

    y = q s = D S M x + e,        e uniform in [−s/2, s/2],

element by element, plus the encoder's own rounding of the planes to integers (σ ≈ 0.3 of 255).
"intervals" is this likelihood as it stands, of zeros too: they say that c is in [−s/2, s/2], not
that it is near 0. "gaussian" replaces e by Gaussian noise of the same variance, s²/12, which every
linear solver can use.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError, UnreadableFileError
from sfumato.inverse.likelihoods import Gaussian, Likelihood, Quantised
from sfumato.inverse.operators import Linear
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal
from sfumato_image.operators.inputs import picture, whole_number
from sfumato_image.operators.jpeg_files import JPEG, read_jpeg
from sfumato_image.operators.jpeg_planes import MATRICES, BlockCosine

__all__ = ["DeJPEG"]

ROUNDING = 0.3 / 255
SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


@dataclass(frozen=True)
class DeJPEG(Task):
    """Removes the blocks and halos of JPEG compression."""

    summary: ClassVar[str] = "undo JPEG compression, within the intervals that the file records"

    likelihood: Literal["intervals", "gaussian"] = "intervals"
    """How the file's intervals are stated: exactly, or as Gaussian noise of their variance, for
    solvers that need it."""

    quality: int = 20
    """Quality of a simulated file, 1 to 95. The tables of a real file are read from it."""

    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    """Chroma subsampling of a simulated file."""

    def __post_init__(self) -> None:
        whole_number("dejpeg", "quality", self.quality, 1, 95)
        if self.subsampling not in SUBSAMPLINGS:
            raise InvalidOptionError(
                "dejpeg", f"subsampling={self.subsampling}", f"use one of {', '.join(SUBSAMPLINGS)}"
            )
        if self.likelihood not in ("gaussian", "intervals"):
            raise InvalidOptionError(
                "dejpeg", f"likelihood={self.likelihood}", "use gaussian or intervals"
            )

    def bind(self, signal: Signal) -> Bound:
        """Reads the quantised coefficients of the signal's file.

        Raises:
            UnreadableFileError: If the signal does not come from a JPEG file, or its file is
                damaged or uses a rare coding.
            ShapeError: If the signal has another size than the file.
        """
        data = picture(signal, "dejpeg")
        jpeg = read_jpeg(stored(signal), signal.path or "the picture")
        orientation = int(signal.meta.get("orientation", 1))
        size = (jpeg.height, jpeg.width) if orientation < 5 else (jpeg.width, jpeg.height)
        channels = len(jpeg.planes)
        if tuple(data.shape) != (channels, *size):
            raise ShapeError(
                "dejpeg: the picture", data.shape,
                f"{channels}×{size[0]}×{size[1]} as in its file; give the file as it was saved",
            )  # fmt: skip
        y, step = measured(jpeg)
        operator = transform(jpeg, orientation, step, noise(step, self.likelihood))
        luma = jpeg.planes[0]
        note = f"JPEG tables read: luma steps {int(luma.table.min())} to {int(luma.table.max())}"
        if channels == 3:
            note += f", chroma 1/{jpeg.planes[1].vertical * jpeg.planes[1].horizontal}"
        meta = {key: value for key, value in signal.meta.items() if key != "encoded"}
        return Bound(operator, y, replace(signal, meta=meta), notes=(note,))

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Compresses a picture; the file itself is kept as ``meta["encoded"]``."""
        from PIL import Image

        data = picture(signal, "dejpeg").detach().cpu().clamp(0, 1)
        pixels = np.asarray((255 * data).round().to(torch.uint8).permute(1, 2, 0))
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=self.quality, subsampling=SUBSAMPLINGS[self.subsampling])
        with Image.open(file) as decoded:
            values = torch.from_numpy(np.array(decoded, dtype=np.float32) / 255)
        values = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
        meta = dict(signal.meta) | {
            "format": "JPEG", "dtype": "uint8", "scale": 255.0, "alpha": None, "orientation": 1,
            "encoded": file.getvalue(),
        }  # fmt: skip
        return Signal(values.contiguous().to(signal.data.dtype), meta)


def stored(signal: Signal) -> bytes:
    """The bytes of the JPEG file."""
    encoded = signal.meta.get("encoded")
    if isinstance(encoded, bytes):
        return encoded
    if signal.path is None:
        raise UnreadableFileError(
            "the picture", "it does not come from a file", "give the JPEG file as it was saved"
        )
    try:
        return signal.path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(signal.path, error.strerror or str(error)) from error


def measured(jpeg: JPEG) -> tuple[Tensor, Tensor]:
    """y ``[1, n]`` and the steps ``[n]`` in units of white = 1, planes one after the other.

    JPEG subtracts 128 from every plane before the transform. For chroma that is the 128 added by
    the colour conversion; for luma, grey and RGB it is undone here, where it is 8 · 128 in the
    first coefficient of each block.
    """
    parts, steps = [], []
    for index, plane in enumerate(jpeg.planes):
        coefficients = plane.quantised * plane.table
        if index == 0 or jpeg.colour == "rgb":
            coefficients[..., 0, 0] += 8 * 128
        parts.append(coefficients.flatten())
        steps.append(plane.table.expand_as(coefficients).flatten())
    y, step = torch.cat(parts) / 255, torch.cat(steps) / 255
    return y[None].to(torch.float32), step


def noise(step: Tensor, likelihood: str) -> Likelihood:
    if likelihood == "intervals":
        return Quantised(step.float(), ROUNDING)
    return Gaussian((step**2 / 12 + ROUNDING**2).sqrt().float())


def transform(jpeg: JPEG, orientation: int, step: Tensor, likelihood: Likelihood) -> Linear:
    """D S M for the layout of a file."""
    return BlockCosine(
        height=jpeg.height,
        width=jpeg.width,
        matrix=MATRICES[jpeg.colour],
        factors=tuple((plane.vertical, plane.horizontal) for plane in jpeg.planes),
        orientation=orientation,
        likelihood=likelihood,
        step=step.float(),
    )
