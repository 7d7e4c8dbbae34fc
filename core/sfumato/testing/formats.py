"""The laws of a file format.

read(write(signal)) = signal, within the format's precision
write(read(file)) keeps what was read                 nothing is lost the second time
a missing, empty, truncated or foreign file gives an ``UnreadableFileError`` that names it
(truncated: unless any beginning of such a file is a file, as its attribute ``prefixes`` says)
writing leaves one file, and reading leaves it as it was
"""

from __future__ import annotations

from pathlib import Path

import torch

from sfumato.errors import UnreadableFileError
from sfumato.signals import Format, Signal
from sfumato.testing.comparisons import require

__all__ = ["check_format"]


def check_format(
    format: Format,  # noqa: A002
    signal: Signal,
    path: str | Path,
    *,
    tolerance: float = 0.0,
) -> None:
    """Checks every law above.

    Args:
        format: What to check.
        signal: Something it can write.
        path: Where to write it; its folder should be empty.
        tolerance: Largest difference that the format's precision causes, in the signal's units.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    path = Path(path)
    check_suffixes(format)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = set(path.parent.iterdir())
    written = format.write(signal, path)
    require(Path(written) == path, format, "write returns the path it was given", str(written))
    left = {p.name for p in set(path.parent.iterdir()) - before} - {path.name}
    require(not left, format, "write leaves one file", f"also found {', '.join(sorted(left))}")
    content = path.read_bytes()
    first = format.read(path)
    require(path.read_bytes() == content, format, "reading does not change a file")
    require_same(format, first, signal, tolerance, "read(write(signal)) is the signal")
    require(first.path == path, format, "a signal knows the path it was read from", str(first.path))
    again = path.with_name(f"again{path.suffix}")
    format.write(first, again)
    require_same(format, format.read(again), first, tolerance, "a second copy is like the first")
    check_damage(format, content, path)


def check_suffixes(format: Format) -> None:  # noqa: A002
    require(isinstance(format, Format), format, "a format has suffixes, read and write")
    require(len(format.suffixes) > 0, format, "a format names at least one suffix")
    for suffix in format.suffixes:
        good = suffix.startswith(".") and suffix == suffix.lower()
        require(good, format, "suffixes are lower-case and begin with a dot", repr(suffix))


def require_same(
    format: Format,  # noqa: A002
    found: Signal,
    expected: Signal,
    tolerance: float,
    law: str,
) -> None:
    shapes = f"{list(found.data.shape)}, expected {list(expected.data.shape)}"
    require(found.data.shape == expected.data.shape, format, law, shapes)
    require(bool(torch.isfinite(found.data.abs()).all()), format, law, "some values are not finite")
    gap = float((found.data - expected.data.to(found.data)).abs().max())
    # half a unit in the last place of single precision belongs to no format
    rounding = 1e-6 * max(1.0, float(expected.data.abs().max())) if tolerance else 0.0
    largest = f"largest difference {gap:.3g}, allowed {tolerance:.3g}"
    require(gap <= tolerance + rounding, format, law, largest)


def check_damage(format: Format, content: bytes, path: Path) -> None:  # noqa: A002
    damaged: dict[str, bytes | None] = {
        "a missing file": None,
        "an empty file": b"",
        "a file cut after a quarter": content[: len(content) // 4],
        "a file of another kind": b"\x00\xff not this format \xfe\x01" * 8,
    }
    if getattr(format, "prefixes", False):
        del damaged["a file cut after a quarter"]
    for what, data in damaged.items():
        bad = path.with_name(f"damaged{path.suffix}")
        bad.unlink(missing_ok=True)
        if data is not None:
            bad.write_bytes(data)
        try:
            format.read(bad)
        except UnreadableFileError as error:
            named = bad.name in str(error)
            require(named, format, f"the error for {what} names the path", str(error))
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise AssertionError(
                f"{type(format).__name__}: {what} gives an UnreadableFileError; found {found}."
            ) from error
        else:
            require(False, format, f"{what} gives an UnreadableFileError", "it was read")
        bad.unlink(missing_ok=True)
