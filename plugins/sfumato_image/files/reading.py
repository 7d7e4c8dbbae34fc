"""What every reader checks first: that the file is there, is of its kind, and is not a bomb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfumato.errors import SfumatoError, UnreadableFileError

__all__ = ["LIMIT", "check_size", "kind_of", "reading"]

LIMIT = 178_956_970
"""Most pixels that are decoded (Pillow's own limit); 2 GB as floats in RGB."""

SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "GIF": (b"GIF8",),
    "BMP": (b"BM",),
    "PDF": (b"%PDF",),
}


def kind_of(head: bytes) -> str:
    """Which kind of file starts with these 16 bytes; empty if unknown."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for kind, starts in SIGNATURES.items() if head.startswith(starts)), "")


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Checks that ``path`` holds a ``kind`` file; turns all that decoders raise into one error.

    Raises:
        UnreadableFileError: Naming the path and the reason.
    """
    try:
        if path.is_dir():
            raise UnreadableFileError(path, "it is a folder")
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except SfumatoError:
        raise
    except OSError as error:
        raise UnreadableFileError(path, error.strerror or str(error)) from error
    if not head:
        raise UnreadableFileError(path, "it is empty")
    found = kind_of(head)
    if found != kind:
        if found:
            raise UnreadableFileError(path, f"it is a {found} file, not {kind}", "rename it")
        raise UnreadableFileError(path, f"it is not a {kind} file")
    try:
        yield
    except SfumatoError:
        raise
    except Exception as error:  # decoders raise a dozen unrelated types
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableFileError(path, f"it is damaged or cut short ({why})") from error


def check_size(path: Path, width: int, height: int) -> None:
    """Refuses pictures that would fill the memory.

    Raises:
        UnreadableFileError: If there are more than ``LIMIT`` pixels, or none.
    """
    if width * height > LIMIT:
        raise UnreadableFileError(
            path, f"{width}×{height} pixels are more than {LIMIT / 1e6:.0f} million", "crop it"
        )
    if width * height == 0:
        raise UnreadableFileError(path, f"it has {width}×{height} pixels")
