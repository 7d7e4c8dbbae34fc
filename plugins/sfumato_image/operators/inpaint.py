"""Filling in what is damaged and touching nothing else.

    y = m x,        m = 0 where the picture is damaged

What is damaged is said by a mask file, by the picture's own transparency, or by a colour painted
over it. Local damage is repaired in windows with a margin of context (``sfumato_image.windows``),
so the cost follows the damage and not the picture. Whatever the solver returns, undamaged pixels
are put back bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Mask
from sfumato.inverse.tasks import Bound, Part, Task
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators.inputs import (
    as_stored,
    noise_level,
    picture,
    read_picture,
    whole_number,
)
from sfumato_image.operators.scratches import scratches
from sfumato_image.windows import FARTHEST, margin_for, windows

__all__ = ["Inpaint"]

THIN_STEPS = 6
"""Noise levels for thin damage, which its neighbourhood all but decides."""


@dataclass(frozen=True)
class Inpaint(Task):
    """Fills in damaged pixels and leaves all others as they are."""

    summary: ClassVar[str] = "fill in scratches, holes and painted-over parts"

    mask: Path | None = None
    """Picture of the same size, white where damaged. Without it (and without a colour), what is
    not opaque in the input is damaged."""

    invert: bool = False
    """Whether the mask is the other way round: black where damaged."""

    colour: str | None = None
    """Colour that marks the damage in the input itself, such as "#ff00ff"."""

    tolerance: float = 0.0
    """Largest difference from that colour in any channel, 0 to 255."""

    dilate: int = 0
    """Pixels by which the damage is taken to reach further on all sides."""

    noise: Noise = 0.0
    """Standard deviation of the noise in the undamaged pixels, 0 to 255, or "auto". They are
    returned as they are in any case; this says how far to trust them."""

    def __post_init__(self) -> None:
        whole_number("inpaint", "dilate", self.dilate, 0, 1000)
        if not 0 <= self.tolerance <= 255:
            raise InvalidOptionError(
                "inpaint", f"tolerance={self.tolerance}", "use a number from 0 to 255"
            )
        if self.mask is not None and self.colour is not None:
            raise InvalidOptionError("inpaint", "mask and colour are given", "give one of them")
        if self.colour is not None:
            parsed(self.colour)
        if self.noise != "auto":
            in_range(self.noise, "inpaint")

    def bind(self, signal: Signal) -> Bound:
        """Finds the damage and cuts out the windows to repair.

        Raises:
            InvalidOptionError: If nothing or everything is damaged, or nothing says what is.
            ShapeError: If the mask has another size.
        """
        data = picture(signal, "inpaint")
        damaged = self.damaged(signal, data)
        known = ~damaged
        sigma, notes = self.level(signal, known)
        likelihood = Gaussian(sigma)
        y = torch.where(known, data, torch.zeros_like(data))[None]
        margin = margin_for(damaged)
        boxes = windows(damaged, margin=margin)
        parts = []
        for box in boxes:
            around = box.grown(margin, tuple(damaged.shape))
            place = around.slices
            operator = Mask(known[place[1:]][None], likelihood)
            parts.append(Part(operator, y[:, *place], place, box.inside(around).slices))
        share = 100 * float(damaged.float().mean())
        notes += (
            f"{share:.2g} % damaged, " + (f"{len(parts)} windows" if parts else "as a whole"),
        )
        transparent = self.mask is None and self.colour is None
        meta = dict(signal.meta) | ({"alpha": None} if transparent else {})
        return Bound(
            operator=Mask(known[None], likelihood),
            y=y,
            signal=replace(signal, meta=meta),
            finish=paste(data, damaged),
            parts=tuple(parts),
            base=data if parts else None,
            steps=THIN_STEPS if margin < FARTHEST and parts else None,
            notes=notes,
        )

    def level(self, signal: Signal, known: Tensor) -> tuple[float, tuple[str, ...]]:
        """σ; exactly 0 if 0 was asked for, since nothing is rounded that is put back."""
        if self.noise == "auto":
            return noise_level("auto", signal, "inpaint", valid=known)
        return in_range(self.noise, "inpaint") / 255, ()

    def damaged(self, signal: Signal, data: Tensor) -> Tensor:
        """``[height, width]``, True where damaged; neither empty nor full."""
        height, width = data.shape[1:]
        if self.mask is not None:
            found = white(read_picture(self.mask, "inpaint"))
            source = f"mask '{self.mask}'"
            if found.shape != data.shape[1:]:
                raise ShapeError(source, found.shape, f"{height}×{width} as the picture")
        elif self.colour is not None:
            painted = torch.tensor(parsed(self.colour), dtype=data.dtype).reshape(3, 1, 1)
            apart = (255 * (data.cpu() - painted)).abs().amax(dim=0)
            found, source = apart <= self.tolerance + 0.5, f"colour {self.colour}"
        else:
            alpha = signal.meta.get("alpha")
            if alpha is None:
                raise InvalidOptionError(
                    "inpaint", "nothing says what is damaged",
                    "give a mask file or a colour, or make the damage transparent",
                )  # fmt: skip
            found, source = torch.as_tensor(alpha)[0] < 1, "transparency"
        found = dilated(found ^ self.invert, self.dilate)
        if not bool(found.any()):
            raise InvalidOptionError(
                "inpaint", f"the {source} marks no pixel as damaged", "mark some, or use invert"
            )
        if bool(found.all()):
            raise InvalidOptionError(
                "inpaint", f"the {source} marks every pixel as damaged", "leave some, or use invert"
            )
        return found

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Blackens what the mask marks; without one, draws transparent or coloured scratches."""
        data = picture(signal, "inpaint").cpu()
        height, width = data.shape[1:]
        meta, fill = dict(signal.meta), torch.zeros(3, 1, 1, dtype=data.dtype)
        if self.mask is not None:
            damaged = self.damaged(signal, data)
        else:
            damaged = dilated(scratches(height, width, seed), self.dilate)
            if self.colour is not None:
                fill = torch.tensor(parsed(self.colour), dtype=data.dtype).reshape(3, 1, 1)
            else:
                opaque = (damaged == self.invert).to(torch.float32)
                meta["alpha"] = opaque[None]
        sigma = 0.0 if self.noise == "auto" else in_range(self.noise, "inpaint") / 255
        noisy = as_stored(Signal(data, meta), data, sigma=sigma, seed=seed)
        fill = fill if data.shape[0] == 3 else fill[:1]
        return noisy.with_data(torch.where(damaged, fill, noisy.data))


def paste(data: Tensor, damaged: Tensor) -> Callable[[Tensor], Tensor]:
    """x ↦ x where damaged and the original elsewhere, bit by bit."""

    def finish(x: Tensor) -> Tensor:
        return torch.where(damaged.to(x.device), x, data.to(x))

    return finish


def white(mask: Signal) -> Tensor:
    """Where a mask is at least half white and, if it has transparency, opaque."""
    value = mask.data.amax(dim=0)
    alpha = mask.meta.get("alpha")
    return (value if alpha is None else value * alpha[0]) >= 0.5


def dilated(damaged: Tensor, reach: int) -> Tensor:
    """Grown by ``reach`` pixels in every direction."""
    if reach == 0:
        return damaged
    grown = damaged.float()[None, None]
    for kernel, pad in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        left, right = pad[1], pad[0]
        padded = functional.pad(grown, (left, left, right, right))
        grown = functional.max_pool2d(padded, kernel, stride=1)
    return grown[0, 0] > 0


def parsed(colour: str) -> tuple[float, float, float]:
    """Numbers in [0, 1] for "#rrggbb" or "#rgb"."""
    digits = colour.strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise InvalidOptionError(
            "inpaint", f"colour={colour!r} is no colour", "write it like '#ff00ff'"
        ) from None
    return red / 255, green / 255, blue / 255
