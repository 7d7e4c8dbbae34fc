"""How good a result is, once the truth is known.

Quality: the plugin's metrics of the posterior mean and of a single sample. Honesty: the share of
the truth that the 90 % interval holds (it should be 0.9), and the correlation of the standard
deviation with the absolute error (the places called uncertain should be the wrong ones). Elements
that all samples have as they are in truth, such as known pixels, count for neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.errors import MissingDependencyError, ShapeError
from sfumato.registry import load_plugin
from sfumato.signals import Signal

if TYPE_CHECKING:
    from sfumato.plugin import Plugin
    from sfumato.results import Result
    from sfumato.token_results import TokenResult

__all__ = ["Scores", "TokenScores", "aligned", "correlation", "measure", "score", "score_tokens"]


@dataclass(frozen=True)
class Scores:
    """The numbers of one result; NaN where one cannot be given.

    Args:
        mean: Metric → its value for the posterior mean.
        sample: Metric → its value for the first sample.
        coverage: Share of elements whose 90 % interval holds the truth.
        correlation: Pearson correlation of the standard deviation with the absolute error.
        skipped: Metrics left out because something is not installed, with the reason.
    """

    mean: dict[str, float]
    sample: dict[str, float]
    coverage: float
    correlation: float
    skipped: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """JSON values: NaN becomes ``None``."""
        return {
            "mean": {name: finite(value) for name, value in self.mean.items()},
            "sample": {name: finite(value) for name, value in self.sample.items()},
            "coverage_90": finite(self.coverage),
            "std_error_correlation": finite(self.correlation),
            "skipped": dict(self.skipped),
        }


def score(
    result: Result, reference: Signal | Tensor, *, metrics: Iterable[str] | None = None
) -> Scores:
    """Compares a result of one item with the truth.

    Args:
        result: A reconstruction of one item.
        reference: The truth, in physical units, ``[*x]``.
        metrics: Names of the plugin's metrics; all if not given.

    Raises:
        ShapeError: If the truth has another shape.
    """
    truth = reference.data if isinstance(reference, Signal) else reference
    truth = truth.to(result.mean)
    if truth.shape != result.mean.shape:
        size = "×".join(str(k) for k in result.mean.shape)
        raise ShapeError("the reference", truth.shape, f"{size}, as the result")
    name = result.record.get("plugin")
    plugin = load_plugin(str(name)) if name else None
    mean, skipped = measure(plugin, result.mean, truth, metrics)
    sample, _ = measure(plugin, result.samples.select(result.axis, 0), truth, mean)
    unknown = (result.samples != truth.unsqueeze(result.axis)).any(dim=result.axis)
    coverage = math.nan
    if result.n > 1:
        low, high = result.interval(0.9)
        coverage = ((truth >= low) & (truth <= high))[unknown].double().mean().item()
    corr = correlation(result.std[unknown], (result.mean - truth).abs()[unknown])
    return Scores(mean, sample, coverage, corr, skipped)


@dataclass(frozen=True)
class TokenScores:
    """The numbers of one restored sequence.

    Args:
        estimate: Metric → its value for the estimate.
        sample: Metric → its value for the first sample.
        source: Metric → its value for the input, where it can be compared.
        skipped: Metrics left out because something is not installed, with the reason.
    """

    estimate: dict[str, float]
    sample: dict[str, float]
    source: dict[str, float]
    skipped: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """JSON values: NaN becomes ``None``."""
        rows = {"estimate": self.estimate, "sample": self.sample, "input": self.source}
        found: dict[str, object] = {
            row: {name: finite(value) for name, value in values.items()}
            for row, values in rows.items()
        }
        return {**found, "skipped": dict(self.skipped)}

    def table(self) -> tuple[tuple[str, ...], ...]:
        """Rows for a report, the first one its head."""
        rows: list[tuple[str, ...]] = [("", "input", "estimate", "one sample")]
        for name, value in self.estimate.items():
            before = self.source.get(name, math.nan)
            cells = (before, value, self.sample.get(name, math.nan))
            rows.append((name, *aligned(cells)))
        return tuple(rows)


def score_tokens(
    result: TokenResult, reference: Signal | Tensor, *, source: Tensor | None = None
) -> TokenScores:
    """Compares a restored sequence with the truth.

    Args:
        result: A reconstruction.
        reference: The truth, in physical units; its length may differ.
        source: What the input held; that of the result if not given.
    """
    truth = reference.data if isinstance(reference, Signal) else reference
    name = result.record.get("plugin")
    plugin = load_plugin(str(name)) if name else None
    estimate, skipped = measure(plugin, result.estimate, truth)
    sample, _ = measure(plugin, result.samples[0], truth, estimate)
    given = result.source.data if source is None and result.source is not None else source
    before = {} if given is None else measure(plugin, given, truth, estimate)[0]
    return TokenScores(estimate, sample, before, skipped)


def measure(
    plugin: Plugin | None, estimate: Tensor, truth: Tensor, names: Iterable[str] | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Values of a plugin's metrics for one item, and those that could not be computed."""
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    if plugin is None:
        return values, skipped
    for name in plugin.metrics if names is None else names:
        try:
            metric = plugin.part("metrics", name)
            values[name] = float(metric(estimate.unsqueeze(0), truth.unsqueeze(0)).mean())
        except MissingDependencyError as error:
            skipped[name] = str(error)
    return values, skipped


def aligned(values: Sequence[float]) -> list[str]:
    """Numbers of one metric with equal decimals: four digits of the largest; – for NaN."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    decimals = max(3 - math.floor(math.log10(largest)), 0) if largest else 0
    return ["–" if math.isnan(value) else f"{value:.{decimals}f}" for value in values]


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of all elements; NaN if one of the two is constant."""
    pair = torch.stack([a.double().flatten(), b.double().flatten()])
    pair = pair - pair.mean(dim=1, keepdim=True)
    norms = pair.norm(dim=1)
    if float(norms.min()) == 0:
        return math.nan
    return float((pair[0] @ pair[1]) / norms.prod())


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
