"""Writing without losing: outputs appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sfumato.errors import OutputExistsError, SfumatoError, UnwritableFileError

__all__ = ["atomic_file", "atomic_folder", "check_folder"]


def check_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Checks, before any compute, that ``folder`` can be written.

    Raises:
        OutputExistsError: If it is a file, or holds something and ``overwrite`` is false.
        UnwritableFileError: If its parent is a file or cannot be written.
    """
    target = Path(folder)
    if target.is_file() or (target.is_dir() and not overwrite and any(target.iterdir())):
        raise OutputExistsError(target)
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise UnwritableFileError(target, f"'{parent}' is a file")
    if not os.access(parent, os.W_OK):
        raise UnwritableFileError(target, f"no permission in '{parent}'")
    return target


@contextmanager
def atomic_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling of ``folder`` to fill; its entries move there if the block succeeds.

    With ``overwrite``, entries of the same name are replaced and everything else in the folder
    stays. If anything fails, all is as it was.

    Raises:
        OutputExistsError: If the folder is in use and ``overwrite`` is false.
        UnwritableFileError: If it cannot be written.
    """
    target = check_folder(folder, overwrite=overwrite).absolute()
    target = target.resolve() if target.exists() else target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UnwritableFileError(target, error.strerror or str(error)) from error
    try:
        work.chmod(0o777 & ~current_umask())  # mkdtemp makes it private
        yield work
        if target.exists():
            exchange(work, target)
        else:
            work.rename(target)
    except OSError as error:
        if isinstance(error, SfumatoError):
            raise
        raise UnwritableFileError(target, error.strerror or str(error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary name in the same folder, which becomes ``path`` if the block succeeds.

    Raises:
        UnwritableFileError: If the folder cannot be written or is full.
    """
    target = Path(path)
    work = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield work
        work.replace(target)
    except OSError as error:
        if isinstance(error, UnwritableFileError):
            raise
        raise UnwritableFileError(target, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):  # the parent may not even be a folder
            work.unlink(missing_ok=True)


def exchange(work: Path, target: Path) -> None:
    """Moves every entry of ``work`` into ``target``; puts back what was there if one move fails."""
    entries = sorted(work.iterdir())
    old = work / ".replaced"
    old.mkdir()
    moved: list[Path] = []
    kept: list[Path] = []
    try:
        for entry in entries:
            place = target / entry.name
            if place.exists() or place.is_symlink():
                place.rename(old / entry.name)
                kept.append(place)
            entry.rename(place)
            moved.append(place)
    except BaseException:
        for place in moved:
            place.rename(work / place.name)
        for place in kept:
            (old / place.name).rename(place)
        raise


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
