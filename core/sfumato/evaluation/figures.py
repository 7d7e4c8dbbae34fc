"""Tensors as pictures inside a page: small, encoded, self-contained.

A plugin that knows how its data look says so (``Plugin.pictures``). Where none does, and for maps
of a standard deviation or an error, tensors are drawn here: two axes of space as an image, one
axis as a line. Longest side at most 1024 px.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.signals import Signal

__all__ = ["LONGEST", "Figure", "Pictures", "bands", "heat", "picture"]

LONGEST = 1024
"""Longest side of an embedded picture, in pixels."""

SMALL = 256
"""Pictures up to this side are stored without loss and shown with hard pixels."""

Pictures = Callable[[Signal], Any]


@dataclass(frozen=True)
class Figure:
    """One picture of a page.

    Args:
        title: A few words above it.
        uri: The picture as a ``data:`` address.
        alt: What it shows, for those who cannot see it.
        width: In pixels.
        height: In pixels.
        scale: Values of the darkest and the brightest colour, for maps.
    """

    title: str
    uri: str
    alt: str
    width: int
    height: int
    scale: tuple[str, str] | None = None

    @property
    def small(self) -> bool:
        """Whether it should be enlarged with hard pixels."""
        return max(self.width, self.height) <= SMALL


def picture(title: str, signal: Signal, pictures: Pictures | None, *, alt: str) -> Figure:
    """Draws a signal the way its plugin does; as a plain array if ``pictures`` is ``None``."""
    if pictures is None:
        return grey(title, signal.data, alt=alt)
    image = pictures(signal)
    if image.mode not in {"L", "RGB", "RGBA"}:
        image = image.convert("RGB")
    image.thumbnail((LONGEST, LONGEST))
    uri = encode(image)
    return Figure(title, uri, alt, image.width, image.height)


def heat(title: str, values: Tensor, *, alt: str) -> Figure:
    """Draws a map of non-negative values, averaged over channels, with its colour scale."""
    plane = flat(values)
    if plane.ndim == 1:
        return lines(title, values, alt=alt)
    high = float(torch.quantile(sample_of(plane), 0.995)) or 1.0
    from matplotlib import colormaps

    colours = torch.from_numpy(colormaps["inferno"]((shrink(plane) / high).clamp(0, 1).numpy()))
    return raster(title, colours[..., :3], alt=alt, scale=("0", f"{high:.3g}"))


def grey(title: str, values: Tensor, *, alt: str) -> Figure:
    """Draws an array: three channels as colours, others as grey levels, one axis as lines."""
    plane = flat(values)
    if plane.ndim == 1:
        return lines(title, values, alt=alt)
    if values.ndim == 3 and values.shape[0] == 3:
        colours = torch.stack([shrink(channel) for channel in real(values)], dim=-1)
    else:
        colours = shrink(plane).unsqueeze(-1).expand(-1, -1, 3)
    low, high = float(colours.min()), float(colours.max())
    if low < 0 or high > 1:  # not already picture-like: spread over the range
        colours = (colours - low) / max(high - low, 1e-12)
    return raster(title, colours, alt=alt)


def lines(title: str, values: Tensor, *, alt: str) -> Figure:
    """Draws up to four channels of a one-dimensional signal."""
    rows = real(values).reshape(-1, values.shape[-1])[:4] if values.ndim else real(values)[None]
    return plotted(title, lambda axes: axes.plot(rows.T.numpy(), linewidth=1), alt=alt)


def bands(title: str, mean: Tensor, low: Tensor, high: Tensor, *, alt: str) -> Figure:
    """Draws the first channel of a one-dimensional mean inside its interval."""
    rows = [real(v).reshape(-1, v.shape[-1])[0].numpy() for v in (mean, low, high)]

    def draw(axes: Any) -> None:
        axes.fill_between(range(len(rows[0])), rows[1], rows[2], alpha=0.3, linewidth=0)
        axes.plot(rows[0], linewidth=1)

    return plotted(title, draw, alt=alt)


def plotted(title: str, draw: Callable[[Any], Any], *, alt: str) -> Figure:
    from matplotlib.figure import Figure as Canvas  # no pyplot: no global state

    canvas = Canvas(figsize=(6.4, 3.2), dpi=140)
    axes = canvas.add_axes((0.09, 0.1, 0.89, 0.87))
    draw(axes)
    axes.grid(alpha=0.25)
    stream = io.BytesIO()
    canvas.savefig(stream, format="png")
    width, height = (int(v) for v in canvas.get_size_inches() * canvas.dpi)
    return Figure(title, as_uri(stream, "png"), alt, width, height)


def raster(
    title: str, colours: Tensor, *, alt: str, scale: tuple[str, str] | None = None
) -> Figure:
    """A ``[height, width, 3]`` array in [0, 1] as a PNG."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), format="png")
    height, width = colours.shape[:2]
    return Figure(title, as_uri(stream, "png"), alt, width, height, scale)


def encode(image: Any) -> str:
    """A PIL image: without loss if it is small, as WebP of high quality otherwise."""
    stream = io.BytesIO()
    if max(image.size) <= SMALL:
        image.save(stream, "PNG", optimize=True)
        return as_uri(stream, "png")
    image.save(stream, "WEBP", quality=90, method=4)
    return as_uri(stream, "webp")


def as_uri(stream: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def real(values: Tensor) -> Tensor:
    values = values.detach().cpu()
    return values.abs().float() if values.is_complex() else values.float()


def flat(values: Tensor) -> Tensor:
    """``[..., height, width]`` averaged to two axes; one axis where there is no second.

    Of a volume (``[channels, depth, height, width]``) the middle slice is shown.
    """
    array = real(values)
    if array.ndim < 3:
        return array.reshape(-1) if array.ndim < 2 or array.shape[0] <= 4 else array
    while array.ndim > 3:
        array = array[:, array.shape[1] // 2]
    return array.mean(dim=0)


def shrink(plane: Tensor) -> Tensor:
    """Averages a plane down to at most ``LONGEST`` pixels a side."""
    height, width = plane.shape
    factor = LONGEST / max(height, width)
    if factor >= 1:
        return plane
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    return torch.nn.functional.interpolate(plane[None, None], size=size, mode="area")[0, 0]


def sample_of(plane: Tensor, most: int = 1_000_000) -> Tensor:
    """An evenly spread part of the values (``torch.quantile`` takes 16 million at most)."""
    values = plane.flatten()
    return values[:: max(1, -(-values.numel() // most))]
