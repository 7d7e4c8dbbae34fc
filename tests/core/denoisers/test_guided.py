"""Classifier-free guidance extrapolates from unconditional to conditional."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import ClassifierFree, Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.processes import VP, Gaussian, Level

PROCESS = Gaussian(VP())
X = torch.ones(2, 3)
LABEL = {"label": torch.tensor([2.0, 3.0])}


@dataclass(frozen=True, eq=False)
class Labelled(Denoiser):
    """Returns the label, or 1 without one; counts its calls."""

    calls: list[Condition]
    process: Gaussian = PROCESS

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.calls.append(condition)
        if condition is None or "label" not in condition:
            return Estimate(torch.ones_like(x_t))
        mean = condition["label"][:, None].expand_as(x_t)
        return Estimate(mean, variance=mean, sampler=lambda _: mean)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_the_mean_moves_along_the_line_through_both(scale: float) -> None:
    estimate = ClassifierFree(Labelled([]), scale)(X, PROCESS.level(0.5), LABEL)
    expected = 1 + scale * (LABEL["label"] - 1)
    torch.testing.assert_close(estimate.mean, expected[:, None].expand_as(X))


def test_the_spread_is_the_conditional_one_and_draws_follow_the_guided_mean() -> None:
    estimate = ClassifierFree(Labelled([]), 3.0)(X, PROCESS.level(0.5), LABEL)
    assert estimate.variance is not None
    assert estimate.sampler is None


@pytest.mark.parametrize(
    ("scale", "condition"), [(1.0, LABEL), (3.0, None), (3.0, {"label": None})]
)
def test_one_call_is_enough_where_nothing_is_to_guide(scale: float, condition: Condition) -> None:
    inner = Labelled([])
    if condition is not None and condition["label"] is None:
        condition = {"other": 1}
    ClassifierFree(inner, scale)(X, PROCESS.level(0.5), condition)
    assert len(inner.calls) == 1


def test_other_entries_of_the_condition_are_kept() -> None:
    inner = Labelled([])
    ClassifierFree(inner, 2.0)(X, PROCESS.level(0.5), {**LABEL, "mask": 7})
    assert inner.calls[1] == {"mask": 7}


def test_guidance_acts_within_its_interval_item_by_item() -> None:
    guided = ClassifierFree(Labelled([]), 3.0, interval=(0.5, 2.0))
    ratios = torch.tensor([1.0, 4.0], dtype=torch.float64)
    levels = PROCESS.level(PROCESS.schedule.time_of(ratios.log()))
    mean = guided(X, levels, LABEL).mean
    torch.testing.assert_close(mean[:, 0], torch.tensor([1 + 3 * (2.0 - 1), 3.0]))


@pytest.mark.parametrize(
    "options", [{"scale": math.inf}, {"interval": (2.0, 1.0)}, {"interval": (-1.0, 1.0)}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        ClassifierFree(Labelled([]), **options)  # type: ignore[arg-type]
