"""Between the numbers of a file and a ``Signal``: bit depth, alpha, orientation.

A k-bit integer n is the number n/(2ᵏ − 1) in [0, 1]. float32 holds 24 bits, so for k ≤ 16 the way
to float and back is exact.

EXIF orientation o in 1 … 8 is a symmetry of the square: o ≥ 5 transposes, and then

    1, 5  nothing    2, 6  left ↔ right    3, 7  turn by 180°    4, 8  top ↔ bottom

with the convention below that the flip of 5 … 8 comes after the transposition.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sfumato.errors import NotFiniteError, ShapeError, UnreadableFileError
from sfumato.signals import Signal

__all__ = ["profile_for", "split_exif", "to_pixels", "to_signal", "upright"]

SCALES = {"uint8": 255.0, "uint16": 65535.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
FLIPS: dict[int, tuple[int, ...]] = {
    1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,),
}  # fmt: skip
ORIENTATION = 0x0112


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns ``[height, width, …]`` as stored into what a viewer shows."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return np.flip(pixels, FLIPS[orientation])


def to_signal(
    pixels: NDArray[Any], path: Path, meta: Mapping[str, Any], *, orientation: int = 1
) -> Signal:
    """Wraps decoded numbers.

    Args:
        pixels: ``[height, width]`` or ``[height, width, channels]``; 2 and 4 channels end in alpha.
        path: Where they came from.
        meta: Header; "dtype", "scale", "alpha" and "orientation" are added.
        orientation: EXIF orientation of ``pixels``.

    Raises:
        UnreadableFileError: If there are more than 4 channels or the numbers are of another kind.
    """
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    dtype, channels = pixels.dtype.name, pixels.shape[-1]
    if channels > 4:
        raise UnreadableFileError(path, f"it has {channels} channels", "expected grey or RGB")
    if dtype not in SCALES:
        raise UnreadableFileError(
            path, f"its numbers are {dtype}", "convert it to 8 bits, 16 bits or float"
        )
    planes = np.ascontiguousarray(upright(pixels, orientation).transpose(2, 0, 1), np.float32)
    data = torch.from_numpy(planes) / SCALES[dtype]
    colours = channels - (channels + 1) % 2
    alpha = data[colours:].clone() if colours < channels else None
    header = {"dtype": dtype, "scale": SCALES[dtype], "alpha": alpha, "orientation": orientation}
    return Signal(data[:colours], {**meta, **header}, path)


def to_pixels(signal: Signal, allowed: Sequence[str], *, alpha: bool = True) -> NDArray[Any]:
    """The numbers to store, ``[height, width, channels]``, in the signal's own depth if allowed.

    Values outside the range of an integer type are clipped to it. The alpha plane, if there is
    one, follows the colours; it is resampled if the picture has changed its size.

    Args:
        signal: What to write.
        allowed: dtypes that the format can store, best first.
        alpha: Whether the format can store opacity.

    Raises:
        ShapeError: If the data are not ``[1 or 3, height, width]``.
        NotFiniteError: If integers are to be stored and the data hold NaN or infinity.
    """
    data = signal.data.detach().cpu()
    if data.ndim != 3 or data.shape[0] not in (1, 3) or 0 in data.shape:
        raise ShapeError("the picture", data.shape, "1×height×width (grey) or 3×height×width (RGB)")
    dtype = signal.meta.get("dtype", "uint8")
    if dtype not in allowed:
        dtype = "uint16" if "uint16" in allowed and dtype != "uint8" else allowed[0]
    opacity = signal.meta.get("alpha")
    if alpha and opacity is not None:
        data = torch.cat([data, resized(opacity, data.shape[1:]).to(data)])
    stored = data.double().numpy().transpose(1, 2, 0)
    if dtype.startswith("float"):
        return np.ascontiguousarray(stored, dtype)
    finite = np.isfinite(stored)
    if not finite.all():
        raise NotFiniteError("the picture", int((~finite).sum()), stored.size)
    return np.ascontiguousarray(np.rint(stored.clip(0, 1) * SCALES[dtype]), dtype)


def resized(alpha: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(alpha.shape[1:]) == tuple(size):
        return alpha
    grown = functional.interpolate(
        alpha[None].float().cpu(), tuple(size), mode="bilinear", antialias=True
    )
    return grown[0].clamp(0, 1)


def split_exif(exif: bytes | None) -> tuple[bytes | None, int]:
    """An EXIF block with the orientation set to "upright", and the orientation it had.

    Only the two bytes of the orientation change; maker notes and offsets stay valid.

    Args:
        exif: TIFF structure, with or without the "Exif" prefix of JPEG.
    """
    if not exif:
        return None, 1
    body = bytearray(exif.removeprefix(b"Exif\x00\x00"))
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    try:
        if order is None:
            return None, 1
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", body, entry)
            if tag == ORIENTATION and kind == 3:
                (value,) = struct.unpack_from(order + "H", body, entry + 8)
                struct.pack_into(order + "H", body, entry + 8, 1)
                return bytes(body), value if value in FLIPS else 1
    except struct.error:  # a block that points outside itself says nothing about the picture
        return None, 1
    return bytes(body), 1


def profile_for(signal: Signal) -> bytes | None:
    """The ICC profile, unless it is one for another number of channels."""
    icc = signal.meta.get("icc")
    space = {1: b"GRAY", 3: b"RGB "}[signal.data.shape[0]]
    return icc if icc and icc[16:20] == space else None
