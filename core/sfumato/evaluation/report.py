"""A report of what was done, as one HTML file that needs nothing else.

A page holds a section for each result: what went in, what came out and how sure it is (mean,
samples, standard deviation), whether the samples fit the measurement (χ² with its accepted band,
in words), how much of them comes from the prior alone, what was run, and, if the truth is known,
how far off the result is. Pictures are embedded; no address outside the file is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor

from sfumato import files
from sfumato.errors import PluginError
from sfumato.evaluation.figures import Figure, Pictures, bands, heat, picture
from sfumato.evaluation.scores import score
from sfumato.evaluation.wordings import (
    Gauge,
    facts,
    gauge,
    honesty,
    meanings,
    run_facts,
    score_table,
    verdict,
)
from sfumato.registry import load_plugin
from sfumato.signals import Signal

if TYPE_CHECKING:
    from sfumato.evaluation.passages import Passage
    from sfumato.results import Result

__all__ = ["Section", "write_report"]

SHOWN = 8
"""At most so many samples are shown."""


@dataclass(frozen=True)
class Section:
    """What a page says about one result.

    Args:
        title: Heading.
        figures: Input, measurement, mean, standard deviation, error.
        samples: Single samples.
        verdict: Whether the samples fit the measurement, in words.
        fits: The same as a flag; ``None`` where it cannot be said.
        gauge: χ² and its band; ``None`` where there is no noise.
        facts: Label → value: the numbers of the result.
        scores: Rows of the table of metrics, the first one its head; empty without a reference.
        meanings: Metric → what it is.
        honesty: Label → value: coverage and correlation with the error.
        run: Label → value: what was run.
        notes: What a person should know.
        passages: Restored sequences, as the plugin shows them (``sfumato.evaluation.passages``).
        readings: Place → its alternatives in words.
    """

    title: str
    figures: tuple[Figure, ...] = ()
    samples: tuple[Figure, ...] = ()
    verdict: str = ""
    fits: bool | None = None
    gauge: Gauge | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    scores: tuple[tuple[str, ...], ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    honesty: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    readings: tuple[tuple[str, str], ...] = ()

    @property
    def below(self) -> bool:
        """Whether χ² lies below its band: the samples follow the noise, and contradict nothing."""
        return self.gauge is not None and self.gauge.mark < self.gauge.low

    @classmethod
    def from_result(
        cls,
        result: Result,
        *,
        reference: Signal | Tensor | None = None,
        title: str = "",
        pictures: Pictures | None = None,
        baselines: Mapping[str, Tensor] | None = None,
    ) -> Section:
        """Describes a result.

        Args:
            result: The first item is shown if it holds several.
            reference: The truth, if it is known.
            title: Heading; the name of the input if not given.
            pictures: ``Signal`` → PIL image; the plugin's own if not given.
            baselines: Name → estimate ``[*x]`` of a classical method, to compare with.

        Raises:
            ShapeError: If the reference has another shape.
        """
        result = first_item(result)
        plugin = str(result.record.get("plugin") or "")
        draw = pictures or plugin_pictures(plugin)
        signal = result.signal or Signal(result.mean)
        others = dict(baselines or {})
        scores = None if reference is None else score(result, reference)
        name = result.signal.path.name if result.signal and result.signal.path else "Result"
        notes = [str(note) for note in result.record.get("notes") or ()]
        if result.n > SHOWN:
            notes.append(f"{SHOWN} of {result.n} samples are shown.")
        if scores is not None:
            notes += [f"{metric} is left out: {why}" for metric, why in scores.skipped.items()]
        return cls(
            title=title or name,
            figures=tuple(main_figures(result, signal, reference, draw, others)),
            samples=tuple(
                picture(f"Sample {i}", signal.with_data(x), draw, alt=f"Posterior sample {i}")
                for i, x in enumerate(result.samples[:SHOWN], start=1)
            ),
            verdict=verdict(result),
            fits=result.consistent,
            gauge=gauge(result),
            facts=facts(result),
            scores=score_table(scores, plugin, reference, others),
            meanings=meanings(() if scores is None else scores.mean, plugin),
            honesty={} if scores is None else honesty(scores),
            run=run_facts(result.record),
            notes=tuple(notes),
        )


def write_report(
    path: str | Path,
    sections: Sequence[Section],
    *,
    title: str = "",
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a self-contained HTML page, atomically; returns its path.

    Args:
        path: The file to write.
        sections: One for each result.
        title: Heading of the page; that of the only section if not given.
        record: What was run (see ``sfumato.records``); shown at the end if no section shows it.

    Raises:
        UnwritableFileError: If the file cannot be written.
    """
    heading = title or (sections[0].title if len(sections) == 1 else "sfumato report")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = any(section.run for section in sections)
    page = environment.get_template("report.html.jinja").render(
        title=heading, sections=sections, run={} if shown else run_facts(record or {})
    )
    with files.atomic_file(path) as work:
        work.write_text(page, encoding="utf-8")
    return Path(path)


def first_item(result: Result) -> Result:
    """The first item of a result that holds several."""
    if result.axis == 0:
        return result
    from dataclasses import replace

    names = ("samples", "measurement", "chi2", "residual", "expectation", "expectation_error")
    parts = {name: getattr(result, name) for name in names}
    firsts = {name: value[0] for name, value in parts.items() if value is not None}
    return first_item(replace(result, **firsts))


def plugin_pictures(name: str) -> Pictures | None:
    plugin = load_plugin(name) if name else None
    if plugin is None or not plugin.pictures:
        return None
    function: Pictures = plugin.resolve(plugin.pictures)
    if not callable(function):
        raise PluginError(f"plugin '{name}': pictures '{plugin.pictures}' is not a function.")
    return function


def main_figures(
    result: Result,
    signal: Signal,
    reference: Signal | Tensor | None,
    draw: Pictures | None,
    baselines: Mapping[str, Tensor],
) -> Iterable[Figure]:
    """Input, measurement (if it is another), mean, spread; truth and error where it is known."""
    y, mean = result.measurement, result.mean
    if result.signal is not None:
        yield picture("Input", result.signal, draw, alt="The input as it was read")
    same = y.shape == signal.data.shape and y.is_complex() == signal.data.is_complex()
    if result.signal is None or not (same and torch.allclose(y.to(signal.data), signal.data)):
        alike = draw if same else None
        yield picture(
            "Measurement", signal.with_data(y), alike, alt="The measurement that was used"
        )
    line = mean.ndim < 3 and (mean.ndim < 2 or mean.shape[0] <= 4)
    if draw is None and line and result.n > 1:
        low, high = result.interval(0.9)
        yield bands("Mean and 90 % interval", mean, low, high, alt="Posterior mean and interval")
    else:
        yield picture("Posterior mean", signal.with_data(mean), draw, alt="The posterior mean")
    if result.n > 1:
        alt = f"Standard deviation over {result.n} samples; brighter is less certain"
        yield heat("Standard deviation", result.std, alt=alt)
    for name, estimate in baselines.items():
        yield picture(
            f"Baseline: {name}", signal.with_data(estimate), draw, alt=f"Result of {name}"
        )
    if reference is not None:
        truth = reference if isinstance(reference, Signal) else signal.with_data(reference)
        yield picture("Reference", truth, draw, alt="The truth")
        error = (mean - truth.data.to(mean)).abs()
        yield heat("Absolute error of the mean", error, alt="Absolute error; brighter is larger")
