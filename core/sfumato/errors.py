"""Every exception a user can meet.

All derive from ``SfumatoError``, so that one ``except`` catches them and the command line can turn
them into one line. A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ImpossibleError",
    "InvalidOptionError",
    "MissingDependencyError",
    "NotFiniteError",
    "OutputExistsError",
    "PluginError",
    "SfumatoError",
    "ShapeError",
    "UnknownNameError",
    "UnreadableFileError",
    "UnsupportedError",
    "UnwritableFileError",
]


class SfumatoError(Exception):
    """Base of everything that sfumato raises on purpose."""


class UnknownNameError(SfumatoError, KeyError):
    """A name that no table holds. Suggests the nearest and lists all."""

    def __init__(self, kind: str, name: object, available: Iterable[str]) -> None:
        names = sorted(available)
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        super().__init__(f"unknown {kind} '{name}'.{hint} Available: {', '.join(names) or 'none'}.")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class InvalidOptionError(SfumatoError, ValueError):
    """An option with a value that makes no sense."""

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(f"{where}: {what}; {fix}.")


class ShapeError(SfumatoError, ValueError):
    """An array whose shape does not fit."""

    def __init__(self, what: str, got: Iterable[object], expected: str) -> None:
        size = "×".join(str(n) for n in got)
        super().__init__(f"{what} is {size or 'a scalar'}, expected {expected}.")


class NotFiniteError(SfumatoError, ValueError):
    """Data with NaN or infinite values."""

    def __init__(self, what: str, count: int, total: int) -> None:
        super().__init__(
            f"{what}: {count} of {total} values are NaN or infinite; "
            "repair them or mark them as missing with a mask."
        )


class ImpossibleError(SfumatoError, ValueError):
    """Evidence that no data can agree with."""

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(f"{what}: nothing agrees with it {where}; {fix}.")


class UnsupportedError(SfumatoError, TypeError):
    """A method that cannot be applied to this operator, likelihood or prior."""

    def __init__(self, method: str, needs: str, found: str, instead: Iterable[str] = ()) -> None:
        others = list(instead)
        hint = f" Use one of: {', '.join(others)}." if others else ""
        super().__init__(f"{method} needs {needs}; {found}.{hint}")


class UnreadableFileError(SfumatoError, OSError):
    """A file that is missing, empty, damaged or not of the expected kind."""

    def __init__(self, path: object, why: str, fix: str = "") -> None:
        super().__init__(f"cannot read '{path}': {why}{f'; {fix}' if fix else ''}.")


class UnwritableFileError(SfumatoError, OSError):
    """A file that could not be written."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"cannot write '{path}': {why}.")


class OutputExistsError(SfumatoError, FileExistsError):
    """An output that would overwrite something."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"'{path}' exists and is not empty; choose another folder or pass --overwrite "
            "(in Python: overwrite=True)."
        )


class CheckpointError(SfumatoError, ValueError):
    """A prior or a training checkpoint that cannot be used."""

    def __init__(self, path: object, why: str, fix: str = "") -> None:
        super().__init__(f"cannot use '{path}': {why}{f'; {fix}' if fix else ''}.")


class PluginError(SfumatoError):
    """A plugin whose declaration is wrong."""


class MissingDependencyError(SfumatoError, ImportError):
    """A plugin needs a package that is not installed."""

    def __init__(self, what: str, missing: Iterable[str], install: str) -> None:
        names = ", ".join(f"'{name}'" for name in missing)
        super().__init__(f"{what} needs {names}, which is not installed: pip install {install}")
