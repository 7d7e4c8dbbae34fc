"""Finding and decoding the pictures of a folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import NotFiniteError, UnreadableFileError
from sfumato_image.formats import FORMATS

__all__ = ["LUMA", "Cache", "class_of", "decode", "find"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (ITU-R BT.601)."""

READERS = {suffix: kind() for kind in FORMATS for suffix in kind().suffixes}


def find(path: str | Path) -> list[Path]:
    """Picture files below a folder, or those that a pattern names, sorted."""
    place = Path(path)
    if place.is_dir():
        candidates: Iterable[Path] = place.rglob("*")
    elif place.is_file():
        candidates = [place]
    else:
        candidates = matching(place)
    found = sorted(p for p in candidates if p.suffix.lower() in READERS and p.is_file())
    if not found:
        known = ", ".join(sorted(READERS))
        exists = place.exists() or any(sign in str(path) for sign in "*?[")
        why = f"there are no pictures ({known})" if exists else "there is no such file or folder"
        raise UnreadableFileError(path, why)
    return found


def matching(pattern: Path) -> Iterable[Path]:
    """Files that match a pattern such as ``photos/**/*.jpg``."""
    wild = [any(sign in part for sign in "*?[") for part in pattern.parts]
    if True not in wild:
        return []
    first = wild.index(True)
    return Path(*pattern.parts[:first]).glob(str(Path(*pattern.parts[first:])))


def class_of(path: Path, root: Path | None) -> str:
    """The class: first folder below the root, or the folder the picture lies in."""
    if root is not None:
        parts = path.relative_to(root).parts
        return parts[0] if len(parts) > 1 else "."
    return path.parent.name


def decode(path: Path, channels: int) -> NDArray[Any]:
    """``[height, width, channels]`` with 8 or 16 bits; floats are taken as [0, 1].

    Raises:
        UnreadableFileError: If the file is damaged or of another kind.
        NotFiniteError: If it holds NaN or infinity.
    """
    signal = READERS[path.suffix.lower()].read(path)
    data = signal.data
    bad = int((~torch.isfinite(data)).sum())
    if bad:
        raise NotFiniteError(f"'{path}'", bad, data.numel())
    if data.shape[0] != channels:
        weights = torch.tensor(LUMA).view(3, 1, 1)
        data = (weights * data).sum(0, keepdim=True) if channels == 1 else data.expand(3, -1, -1)
    kind = np.uint8 if signal.meta["dtype"] == "uint8" else np.uint16
    top = float(np.iinfo(kind).max)
    stored: NDArray[Any] = (data.clamp(0, 1) * top).round().permute(1, 2, 0).numpy().astype(kind)
    return stored


@dataclass
class Cache:
    """The pictures used last, up to a number of bytes."""

    limit: int
    held: OrderedDict[Path, NDArray[Any]] = field(default_factory=OrderedDict)
    used: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """Only the limit travels to another process; each fills its own cache."""
        return {"limit": self.limit, "held": OrderedDict(), "used": 0}

    def get(self, path: Path) -> NDArray[Any] | None:
        """The picture, if it is still held."""
        if path in self.held:
            self.held.move_to_end(path)
        return self.held.get(path)

    def put(self, path: Path, pixels: NDArray[Any]) -> None:
        """Adds a picture; forgets those not used for longest."""
        self.held[path] = pixels
        self.used += pixels.nbytes
        while self.used > self.limit and self.held:
            self.used -= self.held.popitem(last=False)[1].nbytes
