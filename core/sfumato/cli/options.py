"""Options that several commands share."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from sfumato.errors import InvalidOptionError

if TYPE_CHECKING:
    import torch

__all__ = [
    "COMMON",
    "COMPUTE",
    "SAVE",
    "Common",
    "Compute",
    "FormatOptions",
    "InputName",
    "OperatorName",
    "PluginName",
    "PriorName",
    "Save",
    "literals",
]

PluginName = Annotated[str, Parameter(help="Domain of the data; 'sfumato plugins' lists them.")]
OperatorName = Annotated[
    str, Parameter(help="How the data were damaged; 'sfumato plugins NAME' lists them.")
]
InputName = Annotated[
    list[str], Parameter(name="input", help="A file, several files, a folder, or a pattern.")
]
PriorName = Annotated[
    str | None,
    Parameter(help="Shipped prior, folder of one, or OWNER/NAME on the hub. [default: shipped]"),
]

FormatOptions = Annotated[
    dict[str, str] | None,
    Parameter(
        name="format",
        help="Options of the files' format, as --format.NAME VALUE, such as --format.encoding "
        "latin-1 or --format.field body.",
    ),
]

HOW = Group("Computing", sort_key=20)
OUTPUT = Group("Output", sort_key=30)


@Parameter(name="*", group=HOW)
@dataclass(frozen=True)
class Compute:
    """Where and how to compute.

    Args:
        batch: Samples computed at once; does not change them. Chosen from their size by default.
        device: Such as cpu, cuda or cuda:1; auto is CUDA where there is one, else the CPU.
        dtype: Precision of the state; the network keeps its own.
    """

    batch: int | None = None
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch calls it."""
        import torch

        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]

    def checked(self) -> Compute:
        """This, with the device named and known to exist.

        Raises:
            InvalidOptionError: If the batch is not positive or there is no such device.
        """
        if self.batch is not None and self.batch < 1:
            raise InvalidOptionError("--batch", f"{self.batch} samples", "use 1 or more")
        from sfumato.devices import available

        return Compute(self.batch, str(available(self.device)), self.dtype)


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class Save:
    """What may be written over.

    Args:
        overwrite: Replace outputs of the same name; other files in the folder stay.
    """

    overwrite: Annotated[bool, Parameter(negative=())] = False


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class Common:
    """How to talk.

    Args:
        config: TOML file with values for these options; the command line wins.
        json: Print one JSON object instead of text.
        quiet: Draw no progress bar.
    """

    config: Path | None = None
    json: Annotated[bool, Parameter(negative=())] = False
    quiet: Annotated[bool, Parameter(negative=())] = False

    @property
    def bar(self) -> bool:
        """Whether a progress bar may be drawn: somebody is watching and wants it."""
        return sys.stderr.isatty() and not (self.quiet or self.json)


COMMON = Common()
COMPUTE = Compute()
SAVE = Save()


def literals(texts: Mapping[str, str] | None) -> dict[str, Any]:
    """Values as TOML reads them: numbers, true, false and lists; text where they are neither."""
    found: dict[str, Any] = {}
    for name, text in (texts or {}).items():
        try:
            found[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = {"True": True, "False": False}.get(text, text)
    return found
