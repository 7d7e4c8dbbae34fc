"""Inputs and outputs of commands: which files are meant, and how results take their place."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import OutputExistsError, UnreadableFileError, UnwritableFileError

if TYPE_CHECKING:
    from sfumato.plugin import Plugin

__all__ = ["check_file", "expand", "subfolders"]


def expand(plugin: Plugin, inputs: Sequence[str]) -> list[Path]:
    """The files that are meant by files, folders and patterns such as ``"scans/*.png"``.

    A folder stands for its files that the plugin has a format for, in the order of their names.

    Raises:
        UnreadableFileError: If a pattern matches nothing, or a folder holds no such file.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += inside(plugin, path)
        elif not path.exists() and glob.has_magic(text):
            matches = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207
            matches = [match for match in matches if match.is_file()]
            if not matches:
                raise UnreadableFileError(text, "no file matches")
            found += matches
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def inside(plugin: Plugin, folder: Path) -> list[Path]:
    suffixes = {s for name in plugin.formats for s in plugin.part("formats", name)().suffixes}
    names = sorted(
        path for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith(".")
    )  # fmt: skip
    if not names:
        raise UnreadableFileError(
            folder, f"it holds no {plugin.name} file", f"known: {', '.join(sorted(suffixes))}"
        )
    return names


def subfolders(paths: Sequence[Path]) -> list[str]:
    """A name for each input's results: its stem, with suffix or number where stems are equal."""
    stems = Counter(path.stem for path in paths)
    names: list[str] = []
    for path in paths:
        name = path.stem if stems[path.stem] == 1 else path.name
        taken = sum(other == name or other.startswith(f"{name}-") for other in names)
        names.append(f"{name}-{taken + 1}" if name in names else name)
    return names


def check_file(path: Path, *, overwrite: bool, plugin: Plugin | None = None) -> Path:
    """Checks, before any compute, that ``path`` can be written.

    Raises:
        OutputExistsError: If it exists and ``overwrite`` is false.
        UnwritableFileError: If it is a folder, its folder is not writable, or the plugin has no
            format for its suffix.
    """
    if path.is_dir():
        raise UnwritableFileError(path, "it is a folder; name a file")
    if path.exists() and not overwrite:
        raise OutputExistsError(path)
    if plugin is not None:
        try:
            plugin.format(path)
        except UnreadableFileError as error:
            why = str(error).partition(": ")[2].rstrip(".")
            raise UnwritableFileError(path, why) from error
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise UnwritableFileError(path, f"'{parent}' is not a folder that can be written")
    return path
