"""Writing without losing: outputs appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sfumato.errors import OutputExistsError, UnwritableFileError

__all__ = ["atomic_file", "atomic_folder", "check_folder"]


def check_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Checks, before any compute, that ``folder`` can be written.

    Raises:
        OutputExistsError: If it is a file, or holds something and ``overwrite`` is false.
        UnwritableFileError: If its parent cannot be written.
    """
    target = Path(folder)
    if target.is_file() or (target.is_dir() and not overwrite and any(target.iterdir())):
        raise OutputExistsError(target)
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK):
        raise UnwritableFileError(target, f"no permission in '{parent}'")
    return target


@contextmanager
def atomic_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling to fill, which becomes ``folder`` if the block succeeds.

    What stood there before (only with ``overwrite``) is removed after the new one is complete.
    """
    target = check_folder(folder, overwrite=overwrite)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.absolute().parent))
    except OSError as error:
        raise UnwritableFileError(target, error.strerror or str(error)) from error
    old = work.with_name(work.name + "-old")
    try:
        work.chmod(0o755)  # mkdtemp makes it private
        yield work
        if target.exists():
            target.rename(old)
        work.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        if isinstance(error, OutputExistsError | UnwritableFileError):
            raise
        raise UnwritableFileError(target, error.strerror or str(error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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
