"""Trace files: a line with the sampling interval and the number of samples, then the samples.

    # interval_s=0.002 samples=4
    0.0
    0.125
    ...

The number of samples is how a reader notices that the end of a file is missing.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from sfumato.errors import UnreadableFileError
from sfumato.files import atomic_file
from sfumato.signals import Signal

__all__ = ["Trace"]

HEADER = re.compile(r"# interval_s=(\S+) samples=(\d+)")


class Trace:
    """One trace as text; single precision survives."""

    suffixes: tuple[str, ...] = (".trace",)

    def read(self, path: Path) -> Signal:
        """Reads ``[1, time]`` and the sampling interval in seconds.

        Raises:
            UnreadableFileError: If the file is not a whole trace.
        """
        try:
            first, *rows = path.read_text(encoding="ascii").splitlines()
            interval, count = HEADER.fullmatch(first).groups()  # type: ignore[union-attr]
            data = torch.tensor([float(row) for row in rows])
            meta = {"interval_s": float(interval)}
        except (OSError, ValueError, AttributeError) as error:
            raise UnreadableFileError(path, "it is not a trace file", "see 'write'") from error
        if len(data) != int(count):
            raise UnreadableFileError(path, f"it holds {len(data)} of {count} samples")
        return Signal(data[None], meta, path)

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a trace; 9 digits tell any two single-precision numbers apart."""
        samples = signal.data.flatten().tolist()
        header = f"# interval_s={signal.meta.get('interval_s', 0.002)} samples={len(samples)}"
        with atomic_file(path) as work:
            rows = (f"{value:.9g}" for value in samples)
            work.write_text("\n".join([header, *rows]) + "\n", encoding="ascii")
        return path
