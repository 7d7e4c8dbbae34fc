"""Every solver of tokens on problems whose posterior is known by enumeration.

    python benchmarks/truth_tokens.py            every solver; about five minutes on one core
    python benchmarks/truth_tokens.py --smoke    few runs, seconds
    python benchmarks/truth_tokens.py --only X   one solver; the other rows stay
    python benchmarks/truth_tokens.py --problem lost    problems of that name; the others stay

All are given the exact denoiser, so what is wrong is the solver's doing. Marginals are averaged
over runs and compared with the exact ones: what more runs would not remove is bias. Network
evaluations are states that the denoiser was asked about, per run; equal particles are asked about
once. Writes ``benchmarks/results/truth_tokens.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.evaluation.token_truth import KnownTokens, Patch, Row
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem
from sfumato.inverse.tokens.registry import applicable, make
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, TokenLevel, Uniform

RESULTS = Path(__file__).parent / "results" / "truth_tokens.json"
COLUMNS = {
    "problem": "Problem", "process": "Process", "solver": "Solver", "settings": "Settings",
    "runs": "Runs", "tv": "Marginals (TV)", "run": "TV of one run", "evidence": "|ln Ẑ − ln p(y)|",
    "nfe": "Network per run", "seconds": "Seconds",
}  # fmt: skip
FORMATS = {"tv": ".4f", "run": ".3f", "evidence": ".4f", "nfe": ".0f", "seconds": ".1f"}


def problems() -> dict[str, KnownTokens]:
    return {
        "4 letters, gaps": Row("gaps"),
        "4 letters, 35 % replaced": Row("replaced"),
        "4 letters, confused, with zeros": Row("confused"),
        "4 letters, lost and inserted": Row("edited", length=6),
        "3 letters, pattern": Row("pattern", tokens=3),
        "3 letters on a 2×3 grid": Patch(),
    }


@dataclass(frozen=True)
class Setting:
    """A solver as it is run.

    Args:
        name: Method of the registry.
        runs: How often.
        options: Other than the defaults.
    """

    name: str
    runs: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The options, for a reader."""
        return ", ".join(f"{key} {value}" for key, value in self.options.items()) or "default"


SETTINGS = (
    Setting("lattice", 12),
    Setting("clamp", 4000),
    Setting("channel-start", 4000),
    Setting("channel-start", 4000, {"steps": 16}),
    Setting("twisted", 12, {"particles": 256}),
    Setting("twisted", 48),
    Setting("twisted", 12, {"particles": 256, "order": "sure"}),
    Setting("twisted", 12, {"particles": 256, "steps": 3}),
    Setting("split-gibbs", 60),
    Setting("gibbs", 60),
    Setting("importance", 12),
    Setting("tilted", 4000),
    Setting("beam", 1),
)

SCORED = {"lattice"}
"""Solvers whose evidence counts the known tokens; that of the others is given them."""


class Counted(TokenDenoiser):
    """The exact denoiser, counting what a network would have cost."""

    def __init__(self, inner: TokenDenoiser) -> None:
        self.inner, self.process, self.evaluations = inner, inner.process, 0
        self.takes_time = inner.takes_time

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        self.evaluations += len(x_t)
        return self.inner(x_t, t, condition)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few runs, two problems")
    parser.add_argument("--only", help="measure one solver and keep the other rows")
    parser.add_argument("--problem", default="", help="part of the names of the problems")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = dict(list(problems().items())[:2]) if options.smoke else problems()
    chosen = {name: known for name, known in chosen.items() if options.problem in name}
    rows = []
    for name, known in chosen.items():
        for row in measured(known, smoke=options.smoke, only=options.only):
            rows.append({"problem": name, **row})
            print(*(shown(rows[-1].get(key)) for key in COLUMNS), flush=True)
    command = "python benchmarks/truth_tokens.py" + " --smoke" * options.smoke
    if options.only or options.problem:
        old = json.loads(options.out.read_text(encoding="utf-8"))
        fresh = {(row["problem"], row["solver"]) for row in rows}
        kept = [row for row in old["rows"] if (row["problem"], row["solver"]) not in fresh]
        rows = sorted(kept + rows, key=place)
        command = old["command"] + ", then" + f" --only {options.only}" * bool(options.only)
        command += f" --problem {options.problem}" * bool(options.problem)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report(rows, command), indent=1, ensure_ascii=False)
    options.out.write_text(text + "\n", encoding="utf-8")


def place(row: dict[str, Any]) -> tuple[int, str, int]:
    """Where a row belongs; rows of one solver keep their order."""
    names = [setting.name for setting in SETTINGS]
    solver = names.index(row["solver"]) if row["solver"] in names else -1
    return list(problems()).index(row["problem"]), row["process"], solver


def measured(
    known: KnownTokens, *, smoke: bool, only: str | None = None
) -> Iterable[dict[str, Any]]:
    """All rows of one problem, or those of one solver."""
    draws = 100 if smoke else 4000
    made = torch.Generator().manual_seed(7)
    index = torch.multinomial(known.log_joint.exp(), draws, replacement=True, generator=made)
    nothing = torch.full((draws,), torch.nan)
    exact = known.score(TokenDraws(known.states[index], nothing, nothing))
    if only is None:
        found = {"solver": "exact draws", "settings": "", "runs": draws, "tv": exact.tv}
        yield {"process": "", **found}
    processes: dict[str, Categorical] = {"absorbing": Absorbing(known.tokens)}
    if getattr(known, "kind", "") == "replaced":
        processes["uniform"] = Uniform(known.tokens)
    for label, process in processes.items():
        able = applicable(known.problem(process, 1))
        for setting in SETTINGS:
            slow = smoke and label == "uniform" and setting.name == "importance"
            if setting.name in able and only in {None, setting.name} and not slow:
                yield {"process": label, **row(known, process, setting, smoke=smoke)}


def row(
    known: KnownTokens, process: Categorical, setting: Setting, *, smoke: bool
) -> dict[str, Any]:
    """Runs one solver and scores it."""
    runs = min(setting.runs, 2) if smoke else setting.runs
    problem = known.problem(process, runs)
    counted = Counted(problem.denoiser)
    start = time.process_time()
    found = make(setting.name, **setting.options)(
        TokenProblem(counted, problem.sites, problem.machine), Streams.count(0, runs)
    )
    return {
        "solver": setting.name,
        "settings": setting.words,
        "runs": runs,
        **known.score(found, known_scored=setting.name in SCORED).as_json(),
        "nfe": counted.evaluations / runs,
        "seconds": time.process_time() - start,
    }


def report(rows: list[dict[str, Any]], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "machine": f"1 thread of {platform.machine()}, torch {torch.__version__}",
        "columns": COLUMNS,
        "formats": FORMATS,
        "note": "Total variation between the marginals that a solver reports, averaged over its "
        "runs, and the exact ones, in the mean over places; exact draws show what chance leaves. A "
        "run of clamp, channel-start and tilted is one sample, of the others a set of weighted "
        "particles or a chain; beam returns the most probable state. Evidence is of the mean over "
        "runs, given the known tokens (lattice: with them). twisted with 3 steps shows several "
        "places at a time, which is the law of the parallel sampler and not the prior's.",
        "rows": rows,
    }


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
