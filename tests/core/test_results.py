"""What a result says about its samples."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from sfumato.errors import CheckpointError, OutputExistsError
from sfumato.results import Result, chi2_band, student_t


def result(samples: torch.Tensor, rank: int = 1, **fields: object) -> Result:
    n = samples.shape[samples.ndim - rank - 1]
    given = {
        "measurement": torch.zeros(3), "chi2": torch.ones(n), "residual": torch.ones(n),
        "chi2_band": (0.5, 1.5), "null_share": 0.25, "nfe": 20.0, "vjp": 0.0, "seconds": 1.0,
    }  # fmt: skip
    return Result(samples, **(given | fields), rank=rank)  # type: ignore[arg-type]


def test_the_mean_keeps_to_the_bit_what_all_samples_agree_on() -> None:
    samples = torch.rand(7, 1000)
    samples[:, ::2] = samples[0, ::2]
    mean = result(samples).mean
    assert torch.equal(mean[::2], samples[0, ::2])
    torch.testing.assert_close(mean, samples.mean(0))


def test_quantiles_are_those_of_torch() -> None:
    samples = torch.randn(9, 50)
    for q in (0.0, 0.05, 0.5, 0.93, 1.0):
        torch.testing.assert_close(result(samples).quantile(q), samples.quantile(q, dim=0))


@pytest.mark.parametrize("n", [2, 4, 16])
def test_an_interval_holds_the_truth_of_a_gaussian_posterior_as_often_as_it_says(n: int) -> None:
    count = 40_000
    draws = torch.randn(n + 1, count, generator=torch.Generator().manual_seed(n))
    low, high = result(draws[1:]).interval(0.9)
    inside = ((draws[0] >= low) & (draws[0] <= high)).double().mean().item()
    assert inside == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / count))


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 51])
def test_quantiles_of_students_t_are_those_of_scipy(freedom: int) -> None:
    assert student_t(0.95, freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=1e-6)


@pytest.mark.parametrize("count", [30, 1000, 10**6])
def test_the_band_of_chi2_is_near_scipys(count: int) -> None:
    exact = stats.chi2.ppf([0.005, 0.995], count) / count
    assert chi2_band(count) == pytest.approx(tuple(exact), rel=5e-3)  # its stated accuracy


def test_consistency_is_unknown_without_noise() -> None:
    assert result(torch.zeros(2, 3)).consistent is True
    assert result(torch.zeros(2, 3), chi2=torch.full((2,), 2.0)).consistent is False
    assert result(torch.zeros(2, 3), chi2=torch.full((2,), math.nan)).consistent is None


def test_a_batch_adds_a_leading_axis() -> None:
    batch = result(torch.rand(5, 4, 6), chi2=torch.ones(5, 4), residual=torch.ones(5, 4))
    assert batch.n == 4
    assert batch.mean.shape == batch.std.shape == (5, 6)


def test_one_sample_has_no_spread() -> None:
    assert torch.equal(result(torch.rand(1, 6)).std, torch.zeros(6))


def test_a_result_comes_back_from_its_folder(tmp_path: Path) -> None:
    first = result(torch.rand(4, 3, 8, 8), rank=3, record={"solver": "mmps", "notes": []})
    first.save(tmp_path / "out")
    again = Result.load(tmp_path / "out")
    assert torch.equal(again.samples, first.samples)
    assert again.chi2_band == first.chi2_band
    assert again.record["solver"] == "mmps"
    assert {"report.html", "run.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_folder_in_use_is_refused_and_a_damaged_one_named(tmp_path: Path) -> None:
    first = result(torch.rand(4, 3, 8, 8), rank=3)
    first.save(tmp_path / "out")
    with pytest.raises(OutputExistsError):
        first.save(tmp_path / "out")
    (tmp_path / "out" / "result.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="out"):
        Result.load(tmp_path / "out")
