"""Every solver on problems whose posterior is known, beside deepinv's and azula's.

    python benchmarks/truth.py            every solver and library; about ten minutes on one core
    python benchmarks/truth.py --quick    few samples, our solvers only, about one minute

All are given the exact denoiser, so what is wrong is the solver's doing. Network evaluations and
backward passes are counted per sample. ``prior`` says what the denoiser reveals: ``mean`` is what a
network reveals (its mean, and derivatives of it), ``spread`` is also the exact covariance of x₀
given x_t, whose products are counted as backward passes. Writes ``benchmarks/results/truth.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peers import azula_runs, deepinv_runs
from sfumato.denoisers import Condition, Denoiser, Estimate, Exact
from sfumato.errors import NotFiniteError, UnsupportedError
from sfumato.evaluation.known import Known
from sfumato.evaluation.truth import LinearGaussian, Mixture
from sfumato.inverse.problems import Problem
from sfumato.inverse.registry import METHODS, applicable, make
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, Level, log_snr
from sfumato.samplers import DDPM, run

RESULTS = Path(__file__).parent / "results" / "truth.json"
COLUMNS = {
    "problem": "Problem", "library": "Library", "solver": "Solver", "settings": "Settings",
    "prior": "Denoiser knows", "dmu": "Mean error", "spread": "Spread", "W2": "W2",
    "cov90": "90 % interval covers", "TV": "Mode weights (TV)", "SW2": "Sliced W2",
    "floor": "SW2 of exact draws", "NFE": "Network", "VJP": "Backward", "seconds": "Seconds",
}  # fmt: skip
FORMATS = {
    **dict.fromkeys(("dmu", "spread", "W2", "cov90", "TV", "SW2", "floor"), ".3f"),
    **dict.fromkeys(("NFE", "VJP"), ".0f"),
    "seconds": ".1f",
}
CHUNK = 1000
TELLS = {"diagonal", "mmps", "mmps-exact", "pigdm", "proximal", "tds"}
"""Methods that make use of a known spread; the others' rows would be the same twice."""

EXTRA: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mmps", {"steps": 10}),
    ("mmps-exact", {"steps": 5, "iterations": 4, "lanczos": 4}),
    ("mmps-exact", {"steps": 20}),
    ("tds", {"particles": 16}),
    ("fused", {"steps": 30, "start": 20.0}),
    ("fused-gibbs", {"inflation": 1.0}),
    ("proximal", {"inflation": 1.0}),
)


class Counted(Denoiser):
    """The exact denoiser, counting what a network would have cost."""

    def __init__(self, prior: Exact, spread: float) -> None:
        self.prior, self.process, self.spread = prior, prior.process, spread
        self.evaluations = self.products = 0

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.evaluations += len(x_t)
        estimate = Estimate(self.prior(x_t, t, condition).mean)
        if estimate.mean.requires_grad:
            estimate.mean.register_hook(self.passed)
        return estimate

    def passed(self, gradient: Tensor) -> None:
        self.products += len(gradient)


class CountedSpread(Counted):
    """The same, revealing the exact spread too."""

    knows_covariance = True

    def __init__(self, prior: Exact, spread: float) -> None:
        super().__init__(prior, spread)
        self.inner = prior

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.evaluations += len(x_t)
        estimate = self.prior(x_t, t, condition)
        exact = estimate.covariance
        assert exact is not None

        def covariance(v: Tensor) -> Tensor:
            self.products += len(v)
            return exact(v)

        if estimate.mean.requires_grad:
            estimate.mean.register_hook(self.passed)
        return replace(estimate, covariance=covariance)


class CountedUneven(Counted):
    """The same, as a network with a noise map and a head for the variance of every element."""

    takes_uneven = True
    head = "variance"

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        variance = self.prior(x_t, t, condition).variance
        return replace(super().__call__(x_t, t, condition), variance=variance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--all", action="store_true", help="more problems")
    parser.add_argument("--samples", type=int, help="posterior samples per row")
    parser.add_argument("--only", help="measure one of our solvers and keep the other rows")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    n = options.samples or (200 if options.quick else 4000)
    problems: dict[str, Known] = {"Gaussian": LinearGaussian(), "mixture": Mixture()}
    if options.all:
        problems |= {"Gaussian, blur": LinearGaussian("blur"), "mixture 1": Mixture(seed=1)}
    rows: list[dict[str, Any]] = []
    for name, known in problems.items():
        for row in measured(known, n, peers=not options.quick, only=options.only):
            rows.append({"problem": name, **row})
            print(" ".join(shown(rows[-1][key]) for key in COLUMNS), flush=True)
    if options.only:
        old = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
        kept = [r for r in old if (r["library"], r["solver"]) != ("sfumato", options.only)]
        order = list(problems)
        rows = sorted(kept + rows, key=lambda r: order.index(r["problem"]))
    command = (
        "python benchmarks/truth.py"
        + f" --only {options.only}" * bool(options.only)
        + " --quick" * options.quick
        + " --all" * options.all
    )
    command += f" --samples {options.samples}" if options.samples else ""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(report(rows, n, command), indent=1, ensure_ascii=False) + "\n"
    )


def measured(
    known: Known, n: int, *, peers: bool, only: str | None = None
) -> Iterable[dict[str, Any]]:
    """All rows of one problem."""
    if only is None:
        yield row("exact", "exact draws", "", "", known, n, lambda _: known.draws(n, seed=9))
        yield row(
            "exact", "DDPM", "20 steps, exact posterior denoiser", "", known, n, ancestral(known, n)
        )
    denoisers = {"mean": Counted, "spread": CountedSpread, "uneven levels": CountedUneven}
    for prior, kind in denoisers.items():
        settings: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in METHODS]
        for name, options in (*settings, *EXTRA):
            counted = kind(known.prior(Gaussian(VP())), scale(known))
            told = prior == "mean" or name in (
                TELLS if prior == "spread" else {"fused", "fused-gibbs"}
            )
            told = told and only in {None, name}
            if told and name in applicable(known.operator, counted):
                text = ", ".join(f"{key} {value}" for key, value in options.items()) or "default"
                solve = ours(known, name, options, n)
                yield row("sfumato", name, text, prior, known, n, solve, counted)
    if only is not None or not peers:
        return
    for library, table in (("azula", azula_runs(known)), ("deepinv", deepinv_runs(known))):
        for label, peer in table.items():
            name, _, setting = label.partition(" (")
            alone = setting == "one by one)"
            count = min(n, 300) if alone else n
            for steps in (100,) if alone else (20, 100):
                counted = Counted(known.prior(Gaussian(VP())), scale(known))
                text = ", ".join(filter(None, [f"{steps} steps", setting.rstrip(")")]))
                solve = theirs(known, peer, count, steps)
                yield row(library, name, text, "mean", known, count, solve, counted)


def row(
    library: str,
    solver: str,
    settings: str,
    prior: str,
    known: Known,
    n: int,
    solve: Callable[[Any], Tensor],
    counted: Counted | None = None,
) -> dict[str, Any]:
    """Runs one solver and scores its samples."""
    torch.manual_seed(0)  # the peers draw from the global generator
    start = time.process_time()
    try:
        samples = solve(counted)
        seconds = time.process_time() - start
        finite = torch.isfinite(samples).all()
        scores = known.score(samples).as_json() if finite else {}
    except (NotFiniteError, UnsupportedError) as error:
        seconds, scores = time.process_time() - start, {}
        print(f"{library} {solver}: {error}")
    names = {
        "dmu": "mean_error", "spread": "spread", "W2": "w2", "cov90": "coverage",
        "TV": "modes", "SW2": "sliced_w2", "floor": "floor",
    }  # fmt: skip
    return {
        "library": library,
        "solver": solver,
        "settings": settings,
        "prior": prior,
        **{key: scores.get(name) for key, name in names.items()},
        "NFE": None if counted is None else counted.evaluations / n,
        "VJP": None if counted is None else counted.products / n,
        "seconds": seconds,
    }


def ours(known: Known, name: str, options: dict[str, Any], n: int) -> Callable[[Any], Tensor]:
    def solve(counted: Counted) -> Tensor:
        parts = []
        for first in range(0, n, CHUNK):  # a sample does not depend on its batch; memory does
            count = min(CHUNK, n - first)
            problem = Problem(counted, known.operator, known.y.float().expand(count, -1))
            parts.append(make(name, **options)(problem, Streams.count(0, count, first=first)))
        return torch.cat(parts)

    return solve


def theirs(known: Known, peer: Any, n: int, steps: int) -> Callable[[Any], Tensor]:
    def solve(counted: Counted) -> Tensor:
        with warnings.catch_warnings(), contextlib.redirect_stderr(None):
            warnings.simplefilter("ignore")
            samples: Tensor = peer(known, counted, n, steps).detach()
            return samples

    return solve


def ancestral(known: Known, n: int) -> Callable[[Any], Tensor]:
    def solve(_: object) -> Tensor:
        posterior = known.posterior
        grid, streams = log_snr(posterior.process, 20), Streams.count(0, n)
        blank = torch.zeros(n, len(known.truth))
        x = posterior.process.start(blank, posterior.process.level(grid[0]), streams)
        return run(DDPM(), posterior, x, grid, streams)

    return solve


def scale(known: Known) -> float:
    """Standard deviation of the prior's data, which a trained prior knows too."""
    mean, covariance = known.prior(Gaussian(VP())).moments()  # type: ignore[attr-defined]
    return math.sqrt(float(covariance.diagonal().mean() + mean.square().mean()))


def report(rows: list[dict[str, Any]], n: int, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "machine": f"1 thread of {platform.machine()}, torch {torch.__version__}",
        "columns": COLUMNS,
        "formats": FORMATS,
        "note": f"{n} posterior samples per row with the exact denoiser (300 where a peer has to "
        "run samples one by one; azula's TDS is one system of all its samples). Mean error and W2 "
        "are in units of the posterior's total standard deviation, sliced W2 in units of the data; "
        "exact draws show what is chance. Network and backward passes are per sample.",
        "rows": rows,
    }


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
