"""Which exceptions are somebody's mistake or a full disk, and how to say so in one line."""

from __future__ import annotations

from cyclopts import CycloptsError, UnknownOptionError

from sfumato.errors import SfumatoError

__all__ = ["UsageError", "explained"]


class UsageError(SfumatoError):
    """A command line that cannot be understood."""

    def __init__(self, error: CycloptsError, command: str, hint: str = "") -> None:
        unknown = hint if isinstance(error, UnknownOptionError) else ""
        see = f"{unknown}See '{command} --help'."
        super().__init__(f"{one_line(error)} {see}")


def explained(error: Exception) -> str | None:
    """The line to print for ``error``; ``None`` if it is a bug, which deserves its traceback."""
    if isinstance(error, SfumatoError):
        return one_line(error)
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "out of memory; compute fewer samples at once (--batch 1) or use a smaller input."
    if isinstance(error, OSError):
        why = error.strerror or one_line(error)
        return f"'{error.filename}': {why}." if error.filename is not None else f"{why}."
    return None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
