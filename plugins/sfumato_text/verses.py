"""A corpus of verses: how it is read, and which parts are kept for validation and test.

The King James Bible (1611, Blayney's text of 1769) is in the public domain. Debian's package
``bible-kjv`` prints it one verse a line with its reference: ``bible -f gen1:1-rev22:21``.

Blocks of twenty verses: of every twenty blocks the first is test, the eleventh validation, the
others are for training. What is near in the text is thus in the same part, mostly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import UnreadableFileError

__all__ = ["BLOCK", "Split", "split", "verses"]

BLOCK = 20


@dataclass(frozen=True)
class Split:
    """A corpus in parts, each a list of blocks; a block ends with a line's end.

    Args:
        training: To learn from.
        validation: To choose by.
        test: For the last numbers only.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def verses(path: Path) -> list[str]:
    """The verses of a file, without their references.

    Raises:
        UnreadableFileError: If it can't be read, or has lines without a reference.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(path, str(error)) from error
    found = []
    for number, line in enumerate(lines, start=1):
        reference, _, verse = line.partition(" ")
        if ":" not in reference or not verse:
            raise UnreadableFileError(
                path, f"line {number} is no verse with its reference",
                "write it with: bible -f gen1:1-rev22:21",
            )  # fmt: skip
        found.append(verse)
    return found


def split(found: list[str]) -> Split:
    """The parts of a corpus of verses."""
    blocks = [
        "".join(f"{verse}\n" for verse in found[first : first + BLOCK])
        for first in range(0, len(found), BLOCK)
    ]
    parts: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    for number, block in enumerate(blocks):
        part = {0: "test", 10: "validation"}.get(number % 20, "training")
        parts[part].append(block)
    return Split(*(tuple(parts[name]) for name in ("training", "validation", "test")))
