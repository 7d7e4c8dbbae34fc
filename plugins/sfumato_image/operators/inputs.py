"""What every image operator asks of its input, and how a simulated file comes about."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, estimate_sigma, in_range

__all__ = ["as_stored", "noise_level", "picture", "read_picture", "rounding", "whole_number"]


def picture(signal: Signal, where: str) -> Tensor:
    """The numbers of a picture, ``[1 or 3, height, width]``.

    Raises:
        ShapeError: If it has another number of channels, or no pixels.
        NotFiniteError: If a value is NaN or infinite.
    """
    data = signal.data
    name = f"{where}: '{signal.path}'" if signal.path else f"{where}: the picture"
    if data.ndim != 3 or data.shape[0] not in (1, 3) or 0 in data.shape:
        raise ShapeError(
            name, data.shape,
            "1×height×width (grey) or 3×height×width (RGB); convert it, or drop the other channels",
        )  # fmt: skip
    bad = int((~torch.isfinite(data)).sum())
    if bad:
        raise NotFiniteError(name, bad, data.numel())
    return data


def read_picture(path: Path | str, where: str) -> Signal:
    """Reads a file that an option names.

    Raises:
        UnreadableFileError: If it is missing, damaged or no picture.
    """
    from sfumato_image import PLUGIN

    signal = PLUGIN.read(path)
    picture(signal, where)
    return signal


def whole_number(where: str, name: str, value: object, low: int, high: int) -> int:
    """An option that must be an integer.

    Raises:
        InvalidOptionError: If it is not, or lies outside ``low`` to ``high``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidOptionError(
            where, f"{name}={value}", f"use a whole number from {low} to {high}"
        )
    return value


def rounding(signal: Signal) -> float:
    """Standard deviation of the rounding to the file's integers; 0 for floating-point files."""
    if not str(signal.meta.get("dtype", "float32")).startswith("uint"):
        return 0.0
    return 1 / float(signal.meta["scale"]) / math.sqrt(12)


def noise_level(
    noise: Noise, signal: Signal, where: str, *, valid: Tensor | None = None
) -> tuple[float, tuple[str, ...]]:
    """σ of a picture in [0, 1] units, at least that of its rounding, and a note if estimated.

    Args:
        noise: σ in 8-bit units, or "auto".
        signal: What was measured.
        where: Name for messages.
        valid: Pixels to look at, ``[height, width]``.

    Raises:
        InvalidOptionError: If ``noise`` is neither a number from 0 to 255 nor "auto".
    """
    floor = rounding(signal)
    if noise == "auto":
        sigma = max(estimate_sigma(signal.data, valid), floor)
        return sigma, (f"noise estimated at σ = {255 * sigma:.2f} of 255",)
    return math.hypot(in_range(noise, where) / 255, floor), ()


def as_stored(signal: Signal, data: Tensor, *, sigma: float = 0.0, seed: int = 0) -> Signal:
    """A simulated measurement: ``data`` plus white noise, rounded and clipped as its file would.

    Args:
        signal: Its header says what numbers the file holds.
        data: The measurement without noise, ``[channels, height, width]``.
        sigma: Standard deviation of the noise in [0, 1] units.
        seed: Of the noise.
    """
    if sigma:
        streams = Streams(seed, [0]).spawn("measurement")
        data = data + sigma * streams.normal(data[None])[0]
    if rounding(signal):
        scale = float(signal.meta["scale"])
        data = (data.clamp(0, 1) * scale).round() / scale
    meta = {key: value for key, value in signal.meta.items() if key != "encoded"}
    return Signal(data, meta)
