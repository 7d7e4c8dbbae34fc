"""One item of a domain: its numbers, and what its file needs to be written back as it was.

Contract for plugin authors: a ``Format`` knows one file, nothing else. It reads to a ``Signal`` in
the domain's physical units (for images: floats in [0, 1]) and writes a ``Signal`` back with the
bit depth, profile or header that ``meta`` carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Format", "Signal"]


@dataclass(frozen=True)
class Signal:
    """Data without a batch axis, in physical units, with the header of its file.

    Args:
        data: Tensor of shape ``[channels, *space]``, or whatever the domain's priors model.
        meta: What the format needs to write the same kind of file again.
        path: Where it was read from, if it was.
    """

    data: Tensor
    meta: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def with_data(self, data: Tensor) -> Signal:
        """The same header around other numbers."""
        return replace(self, data=data)


@runtime_checkable
class Format(Protocol):
    """Reads and writes one kind of file."""

    suffixes: tuple[str, ...]

    def read(self, path: Path) -> Signal:
        """Reads a file; raises ``UnreadableFileError`` naming the path if it cannot."""
        ...

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a file atomically (to a temporary name, then renamed); returns its path."""
        ...
