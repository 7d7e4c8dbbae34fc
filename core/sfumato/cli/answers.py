"""What a command says: to people on a terminal, or as one JSON object to a script.

Standard output carries the answer and nothing else; progress and complaints go to standard error.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["Answer", "complain", "deliver", "progress"]


@dataclass(frozen=True)
class Answer:
    """The outcome of a command.

    Args:
        data: JSON values, for scripts.
        view: Lines and tables, for people.
    """

    data: Mapping[str, Any]
    view: tuple[RenderableType, ...] = ()


def deliver(answer: Answer, *, as_json: bool) -> None:
    """Prints an answer on standard output."""
    if as_json:
        emit({"ok": True, **answer.data})
        return
    console = Console(highlight=False, soft_wrap=True)
    for part in answer.view:
        console.print(Text(part) if isinstance(part, str) else part)


def complain(kind: str, line: str, *, as_json: bool) -> None:
    """Prints one line on standard error, and with ``as_json`` an object on standard output."""
    sys.stderr.write(f"sfumato: {line}\n")
    if as_json:
        emit({"ok": False, "error": {"type": kind, "message": line}})


def emit(data: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(as_json_value(data), ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def as_json_value(value: Any) -> Any:
    """JSON has no NaN, no paths and no tuples."""
    if isinstance(value, Mapping):
        return {str(key): as_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress(title: str, *, show: bool) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, if that is a terminal; yields a function of the share done."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    ) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
