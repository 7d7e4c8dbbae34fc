"""Signals and maps as pictures for reports, and a few photographs to try things on.

Colour maps are built in CIELAB, where equal distances look equal: the ramp for spreads goes from
dark blue to light yellow with lightness L* linear from 10 to 95, the diverging map from blue
through white to red with L* symmetric about 0.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sfumato.errors import ShapeError, UnknownNameError
from sfumato.signals import Signal
from sfumato_image.files.pixels import SCALES

__all__ = ["PHOTOGRAPHS", "difference", "heat", "photograph", "picture"]

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Colour photographs in scikit-image's package: public domain (NASA, SpaceX) or CC0."""


def picture(signal: Signal) -> Image.Image:
    """An 8-bit picture for a screen.

    Values in [0, 1] are shown as they are and values outside are clipped. Floating-point files in
    other units (their largest value is beyond 2) are stretched between the 0.1 % and the 99.9 %
    quantile. NaN is shown as mid-grey. Transparency is left out.

    Raises:
        ShapeError: If the data are not grey or RGB.
    """
    data = signal.data.detach().cpu().float()
    if data.ndim != 3 or data.shape[0] not in (1, 3) or 0 in data.shape:
        raise ShapeError("the picture", data.shape, "1×height×width or 3×height×width")
    known = data[torch.isfinite(data)]
    stored_as_float = SCALES.get(signal.meta.get("dtype", "uint8")) == 1
    if stored_as_float and known.numel() and known.max() > 2:
        low, high = np.quantile(known.numpy(), [0.001, 0.999])
        data = (data - low) / max(high - low, 1e-12)
    data = torch.nan_to_num(data, nan=0.5, posinf=1.0, neginf=0.0).clamp(0, 1)
    pixels = (255 * data).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def heat(
    std: Float[Tensor, "*channels height width"], *, limit: float | None = None
) -> Image.Image:
    """A map of a spread: dark is certain, light is uncertain.

    Args:
        std: Standard deviation; the root mean square over channels is shown.
        limit: Value of the lightest colour; the 99.5 % quantile if not given.
    """
    flat = std.detach().cpu().double().reshape(-1, *std.shape[-2:]).square().mean(0).sqrt().numpy()
    top = np.quantile(flat, 0.995) if limit is None else limit
    return Image.fromarray(coloured(flat / max(top, 1e-12), ramp()))


def difference(
    a: Float[Tensor, "*channels height width"],
    b: Float[Tensor, "*channels height width"],
    *,
    limit: float | None = None,
) -> Image.Image:
    """a − b, mean over channels: blue below, white equal, red above.

    Args:
        a: One picture.
        b: The other.
        limit: Difference of the strongest colours; the 99.5 % quantile of |a − b| if not given.

    Raises:
        ShapeError: If the shapes differ.
    """
    if a.shape != b.shape:
        raise ShapeError("the first picture", a.shape, "the shape of the second")
    gap = (a - b).detach().cpu().double().reshape(-1, *a.shape[-2:]).mean(0).numpy()
    top = np.quantile(np.abs(gap), 0.995) if limit is None else limit
    return Image.fromarray(coloured(0.5 + gap / max(2 * top, 1e-12), diverging()))


def photograph(name: str = "astronaut", *, size: int | None = 256) -> Signal:
    """A real photograph from scikit-image's own data, ``[3, height, width]``.

    Args:
        name: One of ``PHOTOGRAPHS``.
        size: Side of the central square, after reducing the picture to twice that height at most.

    Raises:
        UnknownNameError: If there is no such photograph.
    """
    from skimage import data

    if name not in PHOTOGRAPHS:
        raise UnknownNameError("photograph", name, PHOTOGRAPHS)
    image = Image.fromarray(getattr(data, name)())
    if size is not None:
        ratio = min(1.0, 2 * size / min(image.size))
        if ratio < 1:
            width, height = (round(side * ratio) for side in image.size)
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    pixels = np.array(image)
    return Signal(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, {"dtype": "uint8"})


def coloured(values: NDArray[Any], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    index = np.rint(np.nan_to_num(values).clip(0, 1) * (len(table) - 1)).astype(int)
    found: NDArray[np.uint8] = table[index]
    return found


@functools.cache
def ramp() -> NDArray[np.uint8]:
    """256 colours from dark blue over red to light yellow, L* linear."""
    u = np.linspace(0, 1, 256)
    hue = np.radians(290 + 170 * u)  # blue, purple, red, yellow
    chroma = 12 + 42 * np.sin(np.pi * u**0.9)
    return srgb(10 + 85 * u, chroma * np.cos(hue), chroma * np.sin(hue))


@functools.cache
def diverging() -> NDArray[np.uint8]:
    """255 colours from blue over white to red."""
    u = np.linspace(-1, 1, 255)
    hue = np.radians(np.where(u < 0, 280, 30))
    chroma = 50 * np.abs(u)
    return srgb(97 - 50 * np.abs(u), chroma * np.cos(hue), chroma * np.sin(hue))


def srgb(*lab: NDArray[Any]) -> NDArray[np.uint8]:
    """CIELAB to 8-bit sRGB."""
    from skimage.color import lab2rgb

    colours = lab2rgb(np.stack(lab, axis=-1)[None])[0]
    found: NDArray[np.uint8] = np.rint(255 * colours).astype(np.uint8)
    return found
