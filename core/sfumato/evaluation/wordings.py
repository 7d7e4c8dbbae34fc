"""The numbers of a result in words and tables, as a report shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sfumato.evaluation.scores import Scores, aligned, measure
from sfumato.registry import load_plugin
from sfumato.signals import Signal

if TYPE_CHECKING:
    from sfumato.results import Result

__all__ = [
    "Gauge", "facts", "gauge", "honesty", "meanings", "run_facts", "score_table", "verdict",
]  # fmt: skip


@dataclass(frozen=True)
class Gauge:
    """Where a value lies relative to an accepted band, as shares of a bar.

    Args:
        low: Left end of the band, in percent of the bar.
        high: Right end of the band.
        mark: The value.
    """

    low: float
    high: float
    mark: float


def verdict(result: Result) -> str:
    """Whether the samples fit the measurement, in words."""
    value, (low, high) = result.chi2.mean().item(), result.chi2_band
    if math.isnan(value):
        rms = result.residual.mean().item()
        return (
            "The measurement is taken as free of noise, so there is no χ²; the residual is "
            f"{rms:.2g} (root mean square, in units of the measurement)."
        )
    band = f"χ² = {value:.3f}, accepted {low:.3f} to {high:.3f}"
    if value > high:
        return (
            f"{band}: the samples contradict the measurement, or its noise is larger than stated."
        )
    if value < low:
        return (
            f"{band}: no contradiction, but the samples follow the noise (their residual has "
            f"{100 * (1 - value):.0f} % less variance than it), or it is smaller than stated."
        )
    return f"{band}: the samples fit the measurement as well as its noise allows."


def gauge(result: Result) -> Gauge | None:
    """The band and the value on a logarithmic bar that leaves as much room as the band is wide."""
    value, (low, high) = result.chi2.mean().item(), result.chi2_band
    if not math.isfinite(value) or low <= 0:
        return None
    ends = [math.log(low), math.log(high), math.log(max(value, 1e-12))]
    room = max(ends[1] - ends[0], abs(ends[2]) / 2)
    left, right = min(ends) - room / 2, max(ends) + room / 2
    return Gauge(*(round(100 * (end - left) / (right - left), 2) for end in ends))


def facts(result: Result) -> dict[str, str]:
    """The numbers of a result, as text."""
    found = {
        "Samples": f"{result.n} of {'×'.join(str(k) for k in result.mean.shape)}",
        "Residual (RMS)": f"{result.residual.mean().item():.3g}",
    }
    if not math.isnan(result.null_share):
        found["Share from the prior alone"] = f"{100 * result.null_share:.1f} % of the energy"
    if result.n > 1:
        low, high = result.interval(0.9)
        found["90 % interval, mean width"] = f"{(high - low).mean().item():.3g}"
        found["Standard deviation, mean"] = f"{result.std.mean().item():.3g}"
    found["Network evaluations"] = f"{result.nfe:g} per sample"
    found["Backward passes"] = f"{result.vjp:g} per sample"
    found["Time"] = f"{result.seconds:.1f} s"
    return found


def honesty(scores: Scores) -> dict[str, str]:
    """Coverage and correlation, as text."""
    found = {}
    if not math.isnan(scores.coverage):
        found["90 % interval holds"] = f"{100 * scores.coverage:.1f} % of the truth"
    if not math.isnan(scores.correlation):
        found["Correlation of std with |error|"] = f"{scores.correlation:.2f}"
    return found


def score_table(
    scores: Scores | None,
    plugin: str,
    reference: Signal | Tensor | None,
    baselines: Mapping[str, Tensor],
) -> tuple[tuple[str, ...], ...]:
    """Metrics in columns, estimates in rows; as many decimals in a column as its largest needs."""
    if scores is None or reference is None or not scores.mean:
        return ()
    truth = reference.data if isinstance(reference, Signal) else reference
    rows = {"Posterior mean": scores.mean, "One sample": scores.sample}
    for name, estimate in baselines.items():
        rows[name] = measure(load_plugin(plugin), estimate, truth.to(estimate), scores.mean)[0]
    columns = [aligned([row[metric] for row in rows.values()]) for metric in scores.mean]
    return (("", *scores.mean), *zip(rows, *columns, strict=True))


def meanings(metrics: Iterable[str], plugin: str) -> dict[str, str]:
    """What metrics of a plugin are: the first line of each one's own description."""
    known = {name: load_plugin(plugin).part("metrics", name) for name in metrics}
    said = {name: (metric.__doc__ or "").split("\n")[0] for name, metric in known.items()}
    return {name: text for name, text in said.items() if text}


def run_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """A record of a run as label → text, in reading order, with what the solver is and costs."""
    known = {**method(str(record.get("solver"))), **record}
    rest = {key: value for key, value in known.items() if key not in {"notes", *LABELS}}
    if isinstance(hashes := known.get("hashes"), Mapping):
        # where a file lay is in run.json; a page may be shown to others, who lack the folder
        known["hashes"] = [f"{Path(name).name} {value}" for name, value in hashes.items()]
    ordered = {LABELS[key]: known[key] for key in LABELS if key in known}
    others = {key.replace("_", " ").capitalize(): value for key, value in rest.items()}
    texts = {label: as_text(value) for label, value in {**ordered, **others}.items()}
    return {label: text for label, text in texts.items() if text}


def method(name: str) -> dict[str, str]:
    """What a solver is and costs, where it is one of the registered methods."""
    from sfumato.inverse.registry import METHODS

    if name not in METHODS:
        return {}
    forward, backward, products = METHODS[name].cost
    parts = [f"{forward} network evaluations"]
    parts += [f"{backward} backward passes"] if backward else []
    parts += [f"{products} products with A and A*"] if products else []
    return {"kind": METHODS[name].kind, "cost": f"{', '.join(parts)} per step and sample"}


LABELS = {
    "command": "Command", "plugin": "Plugin", "operator": "Operator", "prior": "Prior",
    "prior_hash": "Prior hash", "solver": "Solver", "kind": "What it is", "cost": "Its cost",
    "solver_options": "Its options", "reason": "Why this one", "condition": "Condition",
    "seed": "Seed", "versions": "Versions", "platform": "Platform", "hashes": "Hashes",
}  # fmt: skip


def as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
