"""The record of a run: what somebody needs to repeat it, and to know later what was done.

Versions come from the metadata of the installed distributions; nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from sfumato.registry import GROUP

__all__ = ["file_hash", "recorded_command", "run_record", "versions"]

COMMAND: ContextVar[str | None] = ContextVar("command", default=None)
"""The command line, where the command-line program is what runs."""


def run_record(
    *,
    seed: int | None = None,
    plugin: str | None = None,
    inputs: Iterable[str | Path] = (),
    hashes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What somebody needs to repeat a run: command, seed, versions, platform, hashes.

    Args:
        seed: The seed of the run.
        plugin: Name of the plugin; the version of its distribution is recorded too.
        inputs: Files to hash (SHA-256).
        hashes: Other hashes, such as that of the prior.
    """
    files = {str(path): file_hash(path) for path in inputs if Path(path).is_file()}
    return {
        "command": COMMAND.get() or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "versions": versions(plugin),
        "platform": platform.platform(),
        "hashes": {**(hashes or {}), **files},
    }


@contextmanager
def recorded_command(arguments: Sequence[str]) -> Iterator[None]:
    """Within the block, run records show ``sfumato ARGUMENTS`` as the command."""
    token = COMMAND.set(shlex.join(["sfumato", *arguments]))
    try:
        yield
    finally:
        COMMAND.reset(token)


def versions(plugin: str | None = None) -> dict[str, str]:
    """Versions of python, sfumato, torch and the distribution of ``plugin``; imports none."""
    names = ["sfumato", "torch"]
    for entry in entry_points(group=GROUP):
        if entry.name == plugin and entry.dist is not None and entry.dist.name not in names:
            names.append(entry.dist.name)
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
