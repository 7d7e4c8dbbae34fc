"""Restored sequences in a report: pieces with their certainty, and ranked readings.

A plugin shows its data as *passages*, runs of text that share one state. The page colours them:
observed, restored, doubtful.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.evaluation.report import Section
from sfumato.evaluation.wordings import meanings, run_facts
from sfumato.registry import load_plugin

if TYPE_CHECKING:
    from sfumato.token_results import TokenResult

__all__ = ["Passage", "Run", "token_section", "token_verdict"]


@dataclass(frozen=True)
class Run:
    """A piece of a passage.

    Args:
        text: What is shown.
        sure: Posterior probability, 0 to 1; ``None`` for what was observed without doubt.
        note: Shown when one points at it.
    """

    text: str
    sure: float | None = None
    note: str = ""

    @property
    def grade(self) -> str:
        """Name of the colour."""
        if self.sure is None:
            return "seen"
        return "high" if self.sure >= 0.9 else "middle" if self.sure >= 0.5 else "low"


@dataclass(frozen=True)
class Passage:
    """One block of text, such as the input, the estimate or a sample."""

    title: str
    runs: tuple[Run, ...]


def token_section(
    result: TokenResult, *, title: str = "", scores: tuple[tuple[str, ...], ...] = ()
) -> Section:
    """What a page says about a restored sequence.

    Args:
        result: The result.
        title: Heading; the name of the input if not given.
        scores: Rows of a table of metrics, the first one its head.
    """
    name = str(result.record.get("plugin") or "")
    plugin = load_plugin(name) if name else None
    passages: tuple[Passage, ...] = ()
    if plugin is not None and plugin.passages:
        passages = tuple(plugin.resolve(plugin.passages)(result))
    path = result.source.path if result.source is not None else None
    return Section(
        title or (path.name if path is not None else "Result"),
        verdict=token_verdict(result),
        fits=result.consistent,
        facts=token_facts(result),
        passages=passages,
        readings=readings(result),
        scores=scores,
        meanings=meanings([row[0] for row in scores[1:]], name),
        run=run_facts(result.record),
        notes=tuple(str(note) for note in result.record.get("notes") or ()),
    )


def token_verdict(result: TokenResult) -> str:
    """Whether the readings fit what was observed, in words."""
    errors = result.expected_errors
    count = int(result.altered.sum())
    said = f"{count} of {len(result.estimate)} were restored; "
    said += f"{errors:.1f} of all are expected to be wrong."
    misfit = result.misfit.mean().item()
    if result.consistent is None:
        return said + " Nothing that was observed has been changed."
    low, high = (100 * v for v in result.misfit_band)
    state = "as" if result.consistent else "not as"
    return (
        f"{said} The samples take {100 * misfit:.1f} % of what was observed for noise, {state} the "
        f"stated channel does ({low:.1f} to {high:.1f} %)."
    )


def token_facts(result: TokenResult) -> Mapping[str, str]:
    """Label → value."""
    found: dict[str, str] = {
        "Samples": str(result.n),
        "Length": str(len(result.estimate)),
        "Restored": str(int(result.altered.sum())),
        "Expected errors": f"{result.expected_errors:.2f}",
    }
    summary: dict[str, Any] = result.summary()
    if summary["log_evidence"] is not None:
        found["ln p(observed)"] = f"{summary['log_evidence']:.2f}"
    if summary["effective"] is not None:
        found["Smallest effective number of particles"] = f"{summary['effective']:.1f}"
    found["Evaluations per sample"] = f"{result.nfe:g}"
    found["Seconds"] = f"{result.seconds:.1f}"
    return found


def readings(result: TokenResult, *, most: int = 40) -> tuple[tuple[str, str], ...]:
    """Place → its readings with probabilities, for a table."""
    rows = []
    for place in result.alternatives[:most]:
        ranked = zip(place.readings, place.probabilities, strict=True)
        words = [f"{result.words(data) or data.tolist()} ({100 * p:.0f} %)" for data, p in ranked]
        rows.append((place.where, " · ".join(words[:8])))
    return tuple(rows)
