"""Fills the tables of README.md and docs/*.md from ``benchmarks/results/*.json``.

    python benchmarks/tables.py            writes
    python benchmarks/tables.py --check    exit status 1 if anything is not current

A region of a document is everything between ``<!-- begin:NAME -->`` and ``<!-- end:NAME -->``. The
result ``benchmarks/results/NAME.json`` fills it:

    {
      "command": "python benchmarks/truth.py",
      "machine": "2 cores of ..., torch 2.9",
      "columns": {"solver": "Solver", "error": "Mean error"},      key → heading, in order
      "rows": [{"solver": "mmps", "error": 0.021}, ...],
      "formats": {"error": ".4f"},                                 optional
      "note": "one or two sentences about what the numbers mean"    optional
    }

Numbers are printed with three significant digits, pairs as value ± standard error, absent values
as a dash. ``solvers``, ``solvers-tokens``, ``plugin-NAME`` and ``priors-NAME`` come from the
installed package, not from a file.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REGION = re.compile(r"(<!-- begin:([\w.-]+) -->\n)(.*?)(<!-- end:\2 -->)", re.DOTALL)


@dataclass(frozen=True)
class View:
    """Some columns and rows of a result, in an order of its own.

    Args:
        source: Name of the result.
        columns: Keys to show; empty for all.
        problems: What the problem's name begins with.
        knows: What the denoiser may reveal; empty for all.
        order: Key to sort by; rows without it come last.
        has: Key that a row must have a value for.
        first: Whether to show only the first of the problems.
    """

    source: str
    columns: tuple[str, ...]
    problems: str
    knows: tuple[str, ...] = ()
    order: str = ""
    has: str = ""
    first: bool = False

    def of(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """The result that this view shows.

        Raises:
            ValueError: If it would show nothing.
        """
        rows = [
            row
            for row in result["rows"]
            if row["problem"].startswith(self.problems)
            and (not self.knows or row["prior"] in self.knows)
            and (not self.has or row.get(self.has) is not None)
        ]
        if not rows:
            raise ValueError(f"no row of '{self.source}' has a problem '{self.problems}'")
        if self.first:
            rows = [row for row in rows if row["problem"] == rows[0]["problem"]]
        if self.order:
            rows.sort(key=lambda row: math.inf if (v := row.get(self.order)) is None else v)
        keys = self.columns or tuple(result["columns"])
        return {**result, "columns": {key: result["columns"][key] for key in keys}, "rows": rows}


GAUSSIAN = ("library", "solver", "settings", "dmu", "spread", "W2", "cov90", "NFE", "VJP")
MIXTURE = ("library", "solver", "settings", "prior", "TV", "SW2", "floor", "cov90", "NFE", "VJP")
QUALITY = (
    "problem", "set", "images", "library", "solver", "settings", "psnr", "psnr1", "gain", "ssim",
    "ssim1", "nfe", "cpu",
)  # fmt: skip
SPREAD = ("problem", "set", "images", "library", "solver", "settings", "cov90", "corr", "chi2")
LOOPS = ("library", "method", "ms", "calls", "load")
PRESETS = ("method", "ms", "noise", "calls", "load")
PRIOR = ("method", "ms", "network", "share", "goal", "load")
TASKS = ("method", "seconds", "cpu", "peak", "calls", "goal", "load")
STARTS = ("method", "seconds", "torch", "goal", "load")
BUDGETS = (10, 20, 50)
KNOWN = ("name", "paper", *(f"{t}{k}" for t in ("gauss", "ring") for k in BUDGETS))
PRIORS = ("name", *(f"{t}{k}" for t in ("digits", "photo") for k in BUDGETS))
CHAINS = ("name", "chain", "steps5", "steps10", "steps20", "steps50")
VIEWS = {
    "survey-known": View("survey", KNOWN, "samplers", has="ring20"),
    "survey-priors": View("survey", PRIORS, "samplers", has="priors"),
    "survey-bounds": View("survey", CHAINS, "bounds"),
    "speed": View("speed", LOOPS, "loops"),
    "speed-presets": View("speed", PRESETS, "presets"),
    "speed-prior": View("speed", PRIOR, "prior"),
    "speed-tasks": View("speed", TASKS, "tasks"),
    "speed-start": View("speed", STARTS, "start"),
    "restoration": View("restoration", QUALITY, ""),
    "uncertainty": View("restoration", SPREAD, "", has="cov90"),
    "truth-short": View("truth", GAUSSIAN, "Gaussian", ("", "mean"), "W2", first=True),
    "truth-gaussian": View("truth", ("problem", *GAUSSIAN[:3], "prior", *GAUSSIAN[3:]), "Gaussian"),
    "truth-mixture": View("truth", ("problem", *MIXTURE), "mixture"),
}
"""Regions that show part of a result."""


def documents() -> list[Path]:
    """The files that may have regions."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """``text`` with every region as it should be."""
    return REGION.sub(lambda m: m[1] + region(m[2]) + m[4], text)


def region(name: str) -> str:
    """The content of one region, with its last line break."""
    if name in LIVE:
        return LIVE[name]()
    view = VIEWS.get(name)
    path = RESULTS / f"{name if view is None else view.source}.json"
    if not path.is_file():
        return f"*Not measured yet: `benchmarks/results/{path.name}` is missing.*\n"
    result = json.loads(path.read_text(encoding="utf-8"))
    return from_result(result if view is None else view.of(result))


def from_result(result: Mapping[str, Any]) -> str:
    """A Markdown table with its command, machine and note."""
    columns: Mapping[str, str] = result["columns"]
    formats: Mapping[str, str] = result.get("formats", {})
    rows = ([cell(row.get(key), formats.get(key, "")) for key in columns] for row in result["rows"])
    source = f"Made by `{result['command']}`"
    machine = f" on {result['machine']}" if result.get("machine") else ""
    note = f" {result['note']}" if result.get("note") else ""
    return table(columns.values(), rows) + f"\n{source}{machine}.{note}\n"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; ``|`` inside cells is escaped."""
    head = list(headings)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(c.replace('|', '∣') for c in line)} |\n" for line in lines)


def cell(value: Any, form: str = "") -> str:
    """One value as text; ``form`` is a format specification for numbers."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{cell(value[0], form)} ± {cell(value[1], form)}"
    if isinstance(value, int | float):
        return (format(value, form) if form else number(value)).replace("-", "−")
    return str(value)


def number(value: float) -> str:
    """Three significant digits, without an exponent where that is short."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:.0f}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def operators(plugin: str) -> str:
    """Operators of a plugin with their options."""
    import dataclasses

    from sfumato import load_plugin

    domain = load_plugin(plugin)
    rows = []
    for name in domain.operators:
        kind = domain.part("operators", name)
        options = ", ".join(f"`{entry.name}`" for entry in dataclasses.fields(kind))
        rows.append([f"`{name}`", kind.summary, options])
    return table(["operator", "what it undoes", "options"], rows)


def solvers() -> str:
    """All methods of the registry."""
    from sfumato.inverse.registry import METHODS

    rows = []
    for name, method in METHODS.items():
        network, backward, products = method.cost
        cost = f"{network} / {backward} / {products}"
        needs = ", ".join(method.needs) or "nothing"
        rows.append([f"`{name}`", method.summary, method.kind, needs, cost, str(method.steps)])
    return table(["solver", "what it does", "class", "needs", "cost", "steps"], rows)


def solvers_tokens() -> str:
    """All methods of the registry of tokens."""
    from sfumato.inverse.tokens.registry import TABLE

    rows = []
    for name, method in TABLE.items():
        steps = "unknown places" if method.steps is None else str(method.steps)
        if method.sweeps > 1:
            steps = f"{method.sweeps} × {steps}"
        needs = ", ".join(method.needs) or "nothing"
        rows.append([f"`{name}`", method.summary, method.kind, needs, str(method.cost), steps])
    return table(["solver", "what it does", "class", "needs", "cost", "steps"], rows)


def priors(plugin: str) -> str:
    """Shipped priors of a plugin, from their own descriptions."""
    from sfumato import Prior, load_plugin
    from sfumato.errors import SfumatoError
    from sfumato.token_priors import TokenPrior

    rows = []
    for name in load_plugin(plugin).priors:
        try:
            prior = Prior.load(name, plugin=plugin)
        except (SfumatoError, OSError):
            rows.append([f"`{name}`", "not shipped yet", "", "", ""])
            continue
        size = "×".join("any" if side is None else str(side) for side in prior.shape)
        many = sum(p.numel() for p in prior.network.parameters())
        if isinstance(prior, TokenPrior):
            size = f"{prior.process.tokens} tokens"
            many = sum(value.numel() for value in prior.tensors().values())
        card = prior.card
        facts = [str(card.get(key, "")) for key in ("summary", "licence")]
        rows.append([f"`{name}`", facts[0], size, f"{many / 1e6:.2f} M", facts[1]])
    return table(["prior", "what", "size", "parameters", "licence"], rows)


LIVE: dict[str, Callable[[], str]] = {
    "plugin-image": partial(operators, "image"),
    "plugin-text": partial(operators, "text"),
    "priors-image": partial(priors, "image"),
    "priors-text": partial(priors, "text"),
    "solvers": solvers,
    "solvers-tokens": solvers_tokens,
}
"""Regions that come from the installed package."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args(arguments)
    stale = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not given.check:
                path.write_text(new, encoding="utf-8")
    verb = "not current" if given.check else "rewritten"
    print(*(f"{name}: {verb}" for name in stale), sep="\n", end="\n" if stale else "")
    return int(given.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
