"""Scores: honest intervals cover what they promise, and the spread points at the errors."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import ShapeError
from sfumato.evaluation.scores import TokenScores, aligned, correlation, score
from sfumato.results import Result


def result(samples: torch.Tensor) -> Result:
    n = samples.shape[0]
    return Result(
        samples=samples, measurement=samples[0], chi2=torch.ones(n), residual=torch.ones(n),
        chi2_band=(0.9, 1.1), null_share=0.5, nfe=1, vjp=0, seconds=0.0, rank=samples.ndim - 1,
    )  # fmt: skip


@pytest.mark.parametrize("n", [2, 4, 16])
def test_the_interval_of_exact_posterior_draws_covers_ninety_percent(n: int) -> None:
    elements = 100_000
    draws = torch.randn(n + 1, 1, 1, elements, generator=torch.Generator().manual_seed(n))
    coverage = score(result(draws[1:]), draws[0]).coverage
    five_sigma = 5 * math.sqrt(0.9 * 0.1 / elements)
    assert coverage == pytest.approx(0.9, abs=five_sigma)


def test_a_spread_that_is_proportional_to_the_error_correlates_fully() -> None:
    a = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert correlation(3 * a + 1, a) == pytest.approx(1.0)
    assert correlation(-a, a) == pytest.approx(-1.0)


def test_without_a_spread_there_is_no_correlation_and_no_coverage() -> None:
    scores = score(result(torch.zeros(1, 1, 4, 4)), torch.ones(1, 4, 4))
    assert math.isnan(scores.correlation)
    assert math.isnan(scores.coverage)
    assert scores.as_json()["coverage_90"] is None


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="1×3×3, expected 1×4×4"):
        score(result(torch.zeros(2, 1, 4, 4)), torch.ones(1, 3, 3))


def test_numbers_of_one_metric_have_equal_decimals_and_no_cell_is_empty() -> None:
    assert aligned([0.0188, 0.021663]) == ["0.01880", "0.02166"]
    assert aligned([27.571, math.inf, math.nan]) == ["27.57", "inf", "–"]
    assert aligned([12345.6, 0.0]) == ["12346", "0"]
    assert aligned([0.0, 0.0]) == ["0", "0"]
    table = TokenScores({"cer": 0.0125}, {"cer": 0.1}, {}).table()
    assert table == (("", "input", "estimate", "one sample"), ("cer", "–", "0.0125", "0.1000"))


def test_what_was_known_counts_neither_for_coverage_nor_for_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    samples, truth = (torch.rand(n, 1, 8, 8, generator=generator) for n in (16, 1))
    open_part = score(result(samples), truth[0])
    known = torch.full((17, 1, 8, 8), 0.5)
    beside = torch.cat([torch.cat([samples, truth]), known], dim=3)
    scores = score(result(beside[:16]), beside[16])
    assert scores.coverage == open_part.coverage
    assert scores.correlation == pytest.approx(open_part.correlation)
    beside[16, ..., 8:] = 0.6  # certain, and wrong
    assert score(result(beside[:16]), beside[16]).coverage == open_part.coverage / 2
