"""``sfumato evaluate DIR --reference TRUTH``: how far off a reconstruction is, and does it know?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from sfumato.cli.answers import Answer
from sfumato.cli.options import COMMON, SAVE, Common, Save
from sfumato.cli.paths import check_file
from sfumato.cli.plugins import plain_table
from sfumato.errors import CheckpointError, InvalidOptionError, UnreadableFileError
from sfumato.registry import load_plugin

if TYPE_CHECKING:
    from sfumato.evaluation.scores import Scores
    from sfumato.results import Result
    from sfumato.signals import Signal
    from sfumato.token_results import TokenResult

__all__ = ["evaluate"]


def evaluate(
    folder: Annotated[Path, Parameter(name="dir", help="What 'sfumato reconstruct' wrote.")],
    *,
    reference: Annotated[
        Path, Parameter(help="The true file; a folder of files for results of several inputs.")
    ],
    report: Annotated[
        Path | None, Parameter(help="HTML page to write, with the error and the metrics.")
    ] = None,
    save: Save = SAVE,
    common: Common = COMMON,
) -> Answer:
    """Compare a reconstruction with the truth.

    Metrics of the posterior mean and of one sample, the share of the truth inside the 90 %
    interval (it should be 90 %), and the correlation of the standard deviation with the error.
    """
    from sfumato.evaluation.report import Section, write_report
    from sfumato.evaluation.scores import score
    from sfumato.results import Result

    folders = result_folders(folder)
    if any(of_tokens(where) for where in folders.values()):
        return evaluate_tokens(folders, reference, report, overwrite=save.overwrite)
    pairs = [(name, Result.load(where)) for name, where in folders.items()]
    truths = {name: truth_of(result, name, reference) for name, result in pairs}
    if report is not None:
        check_file(report, overwrite=save.overwrite)
    scores = {name: score(result, truths[name]) for name, result in pairs}
    if report is not None:
        sections = [
            Section.from_result(result, reference=truths[name], title=name)
            for name, result in pairs
        ]
        write_report(report, sections)
    rows = {name: {"folder": folders[name], **s.as_json()} for name, s in scores.items()}
    skipped = {metric: why for s in scores.values() for metric, why in s.skipped.items()}
    view: list[Any] = [
        table(scores),
        *(f"{metric} left out: {why}" for metric, why in skipped.items()),
    ]
    data = {"command": "evaluate", "reference": reference, "results": rows, "report": report}
    return Answer(data, tuple(view))


def result_folders(folder: Path) -> dict[str, Path]:
    """The folder itself, or those in it, that hold a result.

    Raises:
        UnreadableFileError: If there is none.
    """
    if (folder / "run.json").is_file():
        return {folder.resolve().name: folder}
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {path.name: path for path in inner if (path / "result.safetensors").is_file()}
    if not found:
        why = "no 'run.json' in it" if folder.is_dir() else "there is no such folder"
        raise UnreadableFileError(folder, why, "expected a folder of 'sfumato reconstruct'")
    return found


def of_tokens(folder: Path) -> bool:
    """Whether a folder holds a restored sequence."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("kind") == "tokens"


def evaluate_tokens(
    folders: dict[str, Path], reference: Path, report: Path | None, *, overwrite: bool
) -> Answer:
    """The same for restored sequences: metrics of the input, the estimate and one sample."""
    from sfumato.evaluation.passages import token_section
    from sfumato.evaluation.report import write_report
    from sfumato.evaluation.scores import score_tokens
    from sfumato.token_results import TokenResult

    pairs = [(name, TokenResult.load(where)) for name, where in folders.items()]
    truths = {name: truth_of(result, name, reference) for name, result in pairs}
    if report is not None:
        check_file(report, overwrite=overwrite)
    scores = {name: score_tokens(result, truths[name]) for name, result in pairs}
    if report is not None:
        sections = [token_section(r, title=n, scores=scores[n].table()) for n, r in pairs]
        write_report(report, sections)
    view: list[Any] = []
    for name, found in scores.items():
        head, *rows = found.table()
        one = plain_table(name if len(scores) > 1 else "", *head[1:])
        for row in rows:
            one.add_row(*row)
        view.append(one)
    skipped = {metric: why for s in scores.values() for metric, why in s.skipped.items()}
    view += [f"{metric} left out: {why}" for metric, why in skipped.items()]
    found_rows = {n: {"folder": folders[n], **s.as_json()} for n, s in scores.items()}
    data = {"command": "evaluate", "reference": reference, "results": found_rows, "report": report}
    return Answer(data, tuple(view))


def truth_of(result: Result | TokenResult, name: str, reference: Path) -> Signal:
    """The true signal of a result, read by its plugin."""
    plugin = load_plugin(plugin_name(result, name))
    if not reference.is_dir():
        return plugin.read(reference)
    stem = Path(name).stem
    match = next((p for p in sorted(reference.iterdir()) if stem in {p.stem, p.name}), None)
    if match is None:
        raise UnreadableFileError(reference, f"it holds no '{stem}.*'", "name the true files alike")
    return plugin.read(match)


def plugin_name(result: Result | TokenResult, name: str) -> str:
    found = result.record.get("plugin")
    if not found:
        raise CheckpointError(name, "its record names no plugin")
    if getattr(result, "axis", 0) != 0:
        raise InvalidOptionError(name, "it is a batch of several items", "evaluate it in Python")
    return str(found)


def table(scores: dict[str, Scores]) -> Table:
    """A row for each metric of one result; a row for each of several results."""
    if len(scores) == 1:
        (only,) = scores.values()
        view = plain_table("", "posterior mean", "one sample")
        for metric, value in only.mean.items():
            view.add_row(metric, f"{value:.4g}", f"{only.sample[metric]:.4g}")
        view.add_row("truth inside the 90 % interval", percent(only.coverage))
        view.add_row("correlation of std and |error|", f"{only.correlation:.2f}")
        return view
    metrics = list(dict.fromkeys(metric for s in scores.values() for metric in s.mean))
    view = plain_table("result", *metrics, "in 90 % interval", "std and |error|")
    for name, s in scores.items():
        values = [f"{s.mean[m]:.4g}" if m in s.mean else "" for m in metrics]
        view.add_row(name, *values, percent(s.coverage), f"{s.correlation:.2f}")
    return view


def percent(share: float) -> str:
    return "unknown, one sample" if math.isnan(share) else f"{100 * share:.1f} %"
