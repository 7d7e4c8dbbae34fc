"""Keywords of the verbs, named once for all overloads; what they mean stands in ``sfumato.api``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import torch

from sfumato.denoisers import Condition
from sfumato.inverse.problems import Solver
from sfumato.inverse.tokens.problems import TokenSolver
from sfumato.samplers import Sampler, Start, Step
from sfumato.samplers.tokens import TokenSampler

__all__ = ["Drawing", "Reconstructing", "Sampling"]


class Drawing(TypedDict, total=False):
    """Keywords of all verbs that draw."""

    n: int
    seed: int
    first: int
    steps: int | None
    condition: Condition
    batch: int | None
    dtype: torch.dtype
    device: torch.device | str | None
    callback: Callable[[float, Step], Any] | None


class Reconstructing(Drawing, total=False):
    """Keywords of ``reconstruct``."""

    solver: str | Solver | TokenSolver
    options: Mapping[str, Any] | None
    budget: int | None


class Sampling(Drawing, total=False):
    """Keywords of ``sample``."""

    sampler: str | Sampler | TokenSampler
    grid: str | None
    start: Start | None
    end: float | None
    shape: tuple[int, ...] | None
    scale: float
