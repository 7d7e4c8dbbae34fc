"""A folder of pictures as training data.

An item is a random window of one picture, drawn from the generator it is given and from nothing
else: the same generator state gives the same item, whatever was drawn before, in whichever process.
Decoded pictures are kept in a cache of bounded size. A picture that cannot be decoded is skipped,
and noted with the reason; the next good one takes its place.

Held-out pictures are those with the smallest hashes of their name and the seed, so that each
picture added to the folder moves at most one other between the sides. A single picture is split in
two.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sfumato.errors import InvalidOptionError, SfumatoError, UnreadableFileError
from sfumato_image.folders import Cache, class_of, decode, find

__all__ = ["Pictures"]


@dataclass(frozen=True)
class Entry:
    """One picture, or the part of it that belongs to this set (in columns)."""

    path: Path
    label: int = 0
    first: float = 0.0
    last: float = 1.0


class Pictures:
    """Random windows of the pictures in a folder.

    Args:
        path: A folder (searched with its sub-folders), a file, or a glob pattern.
        size: Side of an item in pixels.
        channels: 1 (grey) or 3 (RGB); pictures are converted.
        flips: Whether to mirror left and right at random.
        rotations: Whether to turn by multiples of 90° at random.
        scales: Range of the random reduction in size: 0.5 takes a window of twice the side and
            reduces it. (1, 1) takes pixels as they are.
        min_size: Pictures with a shorter side are skipped; ``size`` if not given.
        validation: Share of the pictures that is held out, in [0, 1).
        labels: Whether the first sub-folder is the class of a picture; items are then dictionaries.
        verify: Whether to decode every picture once at the start, so that ``skipped`` is complete.
        cache: Most bytes of decoded pictures to keep in memory.
        seed: Chooses the held-out pictures.

    Attributes:
        classes: Names of the classes; empty without ``labels``.
        skipped: What was left out, as (path, reason).

    Raises:
        InvalidOptionError: If an option makes no sense.
        UnreadableFileError: If there are no (readable) pictures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int = 64,
        channels: int = 3,
        flips: bool = True,
        rotations: bool = False,
        scales: tuple[float, float] = (1.0, 1.0),
        min_size: int | None = None,
        validation: float = 0.1,
        labels: bool = False,
        verify: bool = True,
        cache: int = 1 << 30,
        seed: int = 0,
    ) -> None:
        check_options(size, channels, scales, validation)
        self.size, self.channels = size, channels
        self.flips, self.rotations, self.scales = flips, rotations, tuple(scales)
        self.min_size = size if min_size is None else min_size
        self.skipped: list[tuple[Path, str]] = []
        self.cache = Cache(cache)
        found = find(path)
        root = Path(path) if Path(path).is_dir() else None
        self.classes = tuple(sorted({class_of(p, root) for p in found})) if labels else ()
        entries = [Entry(p, self.classes.index(class_of(p, root)) if labels else 0) for p in found]
        if verify:
            entries = [entry for entry in entries if self.pixels(entry.path) is not None]
        if not entries:
            reasons = "; ".join(f"{p.name}: {why}" for p, why in self.skipped[:3])
            raise UnreadableFileError(
                path, f"none of its {len(found)} pictures can be used ({reasons})"
            )
        self.entries, self.held_out = split(entries, validation, seed)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        kind = {1: "grey", 3: "RGB"}[self.channels]
        return (
            f"Pictures({len(self)} of {self.size}×{self.size} {kind}, {len(self.skipped)} skipped)"
        )

    def validation(self) -> Pictures | None:
        """The held-out pictures as a set of their own; ``None`` if ``validation`` was 0."""
        if not self.held_out:
            return None
        other = object.__new__(Pictures)
        other.__dict__ |= self.__dict__
        other.entries, other.held_out = self.held_out, []
        return other

    def item(
        self, index: int, generator: torch.Generator | None = None
    ) -> Tensor | dict[str, Tensor]:
        """A window of picture ``index``, ``[channels, size, size]`` in [0, 1].

        Args:
            index: From 0 to ``len(self) - 1``.
            generator: A CPU generator; without it the central window, not mirrored.

        Returns:
            The window, or ``{"x": window, "label": class}`` with ``labels``.

        Raises:
            UnreadableFileError: If no picture of the set can be decoded.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} pictures")
        for step in range(len(self)):
            entry = self.entries[(index + step) % len(self)]
            pixels = self.pixels(entry.path)
            if pixels is not None:
                width = pixels.shape[1]
                part = pixels[:, round(entry.first * width) : round(entry.last * width)]
                x = self.window(part, generator)
                return {"x": x, "label": torch.tensor(entry.label)} if self.classes else x
        raise UnreadableFileError(self.entries[0].path.parent, "no picture can be decoded any more")

    def __getitem__(self, index: int) -> Tensor | dict[str, Tensor]:
        return self.item(index)

    @property
    def card(self) -> dict[str, Any]:
        """What a prior trained on this set should say about it: counts, and a hash of the files."""
        digest = hashlib.sha256()
        for name, hashed in self.manifest():
            digest.update(f"{name} {hashed}\n".encode())
        return {
            "pictures": len(self),
            "skipped": len(self.skipped),
            "held_out": [entry.path.name for entry in self.held_out],
            "size": self.size,
            "channels": self.channels,
            "classes": list(self.classes),
            "sha256": digest.hexdigest(),
        }

    def manifest(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of every file of this set."""
        paths = sorted({entry.path for entry in self.entries})
        return [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths]

    def window(self, pixels: NDArray[Any], generator: torch.Generator | None) -> Tensor:
        """A random window, reduced to the item's size; everything random is drawn here."""
        height, width = pixels.shape[:2]
        low, high = (math.log(scale) for scale in self.scales)
        scale = math.exp(low + (high - low) * uniform(generator, 0.5))
        side = min(round(self.size / scale), height, width)
        top = int(uniform(generator, 0.5) * (height - side + 1))
        left = int(uniform(generator, 0.5) * (width - side + 1))
        mirrored = uniform(generator, 0.0) >= 0.5
        turns = int(4 * uniform(generator, 0.0))
        cut = pixels[top : top + side, left : left + side]
        x = torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1)))
        x = x.float() / float(np.iinfo(pixels.dtype).max)
        if side != self.size:
            x = functional.interpolate(
                x[None], (self.size, self.size), mode="bicubic", antialias=True
            )[0].clamp(0, 1)
        if self.flips and mirrored:
            x = x.flip(2)
        return torch.rot90(x, turns, (1, 2)) if self.rotations else x

    @property
    def mirrors(self) -> tuple[int, ...]:
        """Axes along which items are mirrored as often as not; turns bring one onto the other."""
        if not self.flips:
            return ()
        return (-1, -2) if self.rotations else (-1,)

    def pixels(self, path: Path) -> NDArray[Any] | None:
        """The decoded picture ``[height, width, channels]``; None, and a note, if unusable."""
        if any(path == known for known, _ in self.skipped):
            return None
        held = self.cache.get(path)
        if held is None:
            try:
                held = decode(path, self.channels)
            except (SfumatoError, OSError) as error:
                self.skipped.append((path, str(error)))
                return None
            height, width = held.shape[:2]
            if min(height, width) < self.min_size:
                why = f"{width}×{height} pixels, less than the {self.min_size} asked for"
                self.skipped.append((path, why))
                return None
            self.cache.put(path, held)
        return held


def check_options(size: int, channels: int, scales: tuple[float, float], validation: float) -> None:
    if size < 1:
        raise InvalidOptionError("pictures", f"size={size}", "use 1 or more")
    if channels not in (1, 3):
        raise InvalidOptionError("pictures", f"channels={channels}", "use 1 (grey) or 3 (RGB)")
    if not 0 < scales[0] <= scales[1] <= 1:
        raise InvalidOptionError("pictures", f"scales={scales}", "use 0 < low <= high <= 1")
    if not 0 <= validation < 1:
        raise InvalidOptionError("pictures", f"validation={validation}", "use 0 up to less than 1")


def split(
    entries: Sequence[Entry], validation: float, seed: int
) -> tuple[list[Entry], list[Entry]]:
    """Training and held-out entries."""
    if validation == 0:
        return list(entries), []
    if len(entries) == 1:
        return (
            [replace(entries[0], last=1 - validation)],
            [replace(entries[0], first=1 - validation)],
        )
    ranked = sorted(entries, key=lambda entry: rank(entry, seed))
    count = min(max(1, round(validation * len(entries))), len(entries) - 1)
    held = set(ranked[:count])
    return [e for e in entries if e not in held], [e for e in entries if e in held]


def rank(entry: Entry, seed: int) -> bytes:
    name = f"{seed}/{entry.path.parent.name}/{entry.path.name}"
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def uniform(generator: torch.Generator | None, centre: float) -> float:
    """A draw from [0, 1); ``centre`` without a generator."""
    if generator is None:
        return centre
    return float(torch.rand((), generator=generator, dtype=torch.float64))
