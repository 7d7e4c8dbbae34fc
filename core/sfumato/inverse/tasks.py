"""Tasks: an operator as people ask for it, in files and options, before the input is known.

``image.operator("inpaint", mask="scratches.png", noise="auto")`` is a ``Task``. Bound to a
``Signal`` it becomes numbers: an operator, a measurement, and how to put the result back. Its
dataclass fields are the options of the command line, with their docstrings as help.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sfumato.inverse.operators import Operator
from sfumato.signals import Signal

__all__ = ["Bound", "Part", "Task"]


@dataclass(frozen=True, eq=False)
class Part:
    """A region that can be reconstructed alone.

    Args:
        operator: The operator restricted to ``place``.
        y: Its measurement, ``[1, *y]``.
        place: Where the region lies in the signal, one slice per axis of one x.
        keep: The share of the region to copy back, relative to the region.
    """

    operator: Operator
    y: Tensor
    place: tuple[slice, ...]
    keep: tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Bound:
    """A task with its input.

    Args:
        operator: A with its likelihood, in physical units.
        y: The measurement, ``[1, *y]``, in physical units.
        signal: The input; its header is the header of the output.
        finish: One reconstructed x ``[*x]`` → what is written: restores what was never in doubt.
        parts: Regions to reconstruct one by one, leaving the rest of ``base`` as it is; empty to
            reconstruct the whole.
        base: x outside the parts, ``[*x]``.
        steps: Steps that are enough for this damage, for the default solver; its own if not given.
        notes: What a person should be told, such as an estimated noise level.
    """

    operator: Operator
    y: Tensor
    signal: Signal
    finish: Callable[[Tensor], Tensor] = field(default=lambda x: x)
    parts: tuple[Part, ...] = ()
    base: Tensor | None = None
    steps: int | None = None
    notes: tuple[str, ...] = ()


class Task(ABC):
    """An operator with options; a frozen dataclass.

    Attributes:
        summary: One line for lists.
    """

    summary: ClassVar[str] = ""

    @abstractmethod
    def bind(self, signal: Signal) -> Bound:
        """Reads a damaged ``signal`` as a measurement.

        Raises:
            SfumatoError: If options and signal do not fit, before any compute.
        """

    def check(self, signal: Signal) -> None:
        """Refuses a signal that this task cannot use; raises as ``bind`` does."""
        self.bind(signal)

    @abstractmethod
    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Simulates the damage on a clean ``signal``, in a form that ``bind`` accepts."""
