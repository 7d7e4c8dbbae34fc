"""Measurements of single elements, in the places of x."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.inverse.problems import Problem

__all__ = ["Elements", "elements"]


class Elements(NamedTuple):
    """What is measured one by one; every part has the shape of x."""

    measured: Tensor
    """True where an element is measured."""
    values: Tensor
    """What was measured there; 0 elsewhere."""
    noise: Tensor
    """Its variance; 0 elsewhere."""


def elements(problem: Problem) -> Elements:
    """The measurement of a problem whose operator keeps or drops single elements."""
    operator = problem.linear
    y = problem.y
    measured = operator.pinv(operator(torch.ones_like(problem.blank()))).abs() > 0.5
    values = operator.pinv(operator.restrict(y))
    noise = operator.pinv((problem.noise + torch.zeros_like(y.abs())).to(y))
    return Elements(measured, values, noise.real if noise.is_complex() else noise)
