"""What the defaults of picture solvers were chosen by: held-out photographs, one setting at a time.

    python benchmarks/settings.py data/                     the grid below
    python benchmarks/settings.py data/ --tasks inpaint --device cuda --share 1/4 --out a.json
    python benchmarks/settings.py --join a.json b.json

The photographs are the eight of the training data's manifest that ``photo`` was not trained on
(``examples/priors/fetch.py photos data/``); the pictures of the other benchmarks are not looked at.
Writes ``benchmarks/results/settings.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

import sfumato as sf
from degradations import TASKS, Case
from photographs import Photograph, centre
from records import shown
from restoration import share
from sfumato.evaluation.calibration import spread_ratio
from sfumato_image.metrics import psnr

RESULTS = Path(__file__).parent / "results" / "settings.json"
COLUMNS = {
    "problem": "Task", "solver": "Solver", "settings": "Settings", "pictures": "Photographs",
    "psnr": "PSNR of the mean, dB", "average": "PSNR of the samples' average, dB",
    "psnr1": "PSNR of one sample, dB", "spread": "Spread over error",
    "cov90": "90 % interval covers", "nfe": "Network per sample",
}  # fmt: skip
FORMATS = {
    "psnr": ".2f",
    "average": ".2f",
    "psnr1": ".2f",
    "spread": ".2f",
    "cov90": ".3f",
    "nfe": ".0f",
}
Setting = tuple[str, int | None, dict[str, Any]]
"""Name of a solver, steps, options."""

PROXIMAL: list[Setting] = [
    ("proximal", None, {}),
    ("proximal", None, {"inflation": 1.0}),
    ("proximal", None, {"inflation": 2.0}),
    ("proximal", None, {"inflation": 8.0}),
    ("proximal", None, {"pilot_start": 0.4}),
    ("proximal", None, {"pilot_start": 1.6}),
    ("proximal", None, {"pilot_start": None}),
    ("proximal", None, {"rounds": 6}),
]
FUSED: list[Setting] = [("fused", steps, {"start": 5.0}) for steps in (8, 12, 20)]
ROUNDS: list[Setting] = [
    ("fused-gibbs", None, {}),
    ("fused-gibbs", None, {"inflation": 1.0}),
    ("fused-gibbs", None, {"inflation": 8.0}),
    ("fused-gibbs", None, {"pilot_start": 0.25}),
    ("fused-gibbs", None, {"pilot_start": 1.1}),
    ("fused-gibbs", None, {"pilot_start": None}),
    ("fused-gibbs", 8, {"rounds": 4}),
]
GRID: dict[str, list[Setting]] = {
    "sr2": PROXIMAL,
    "sr4": PROXIMAL,
    "deblur": PROXIMAL,
    "inpaint": [*PROXIMAL[:1], *FUSED[:2], *ROUNDS],
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="folder that fetch.py filled")
    parser.add_argument("--tasks", nargs="+", default=list(GRID), choices=list(GRID))
    parser.add_argument("--solvers", nargs="+", help="only these")
    parser.add_argument("--vary", nargs="+", help="only defaults, and settings of these options")
    parser.add_argument("--prior", default="photo", help="name or folder")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--n", type=int, default=4, help="samples")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--share", type=share, default=(1, 1), help="i/k: every k-th photograph")
    parser.add_argument("--join", nargs="+", type=Path, help="only put these files together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    command = shown("benchmarks/settings.py", arguments or sys.argv[1:])
    if options.join:
        runs = [row for path in options.join for row in json.loads(path.read_text())["runs"]]
        write(runs, command, options.out)
        return
    prior = sf.Prior.load(options.prior, plugin="image").to(options.device)
    part, parts = options.share
    runs = []
    for picture in held_out(options.data)[part - 1 :: parts]:
        truth = centre(picture.data, options.size)
        for task in options.tasks:
            case = TASKS[task].case(picture, truth)
            for setting in GRID[task]:
                if options.solvers and setting[0] not in options.solvers:
                    continue
                if options.vary and not set(setting[2]) <= set(options.vary):
                    continue
                began = time.perf_counter()
                runs.append(measured(case, task, setting, prior, options))
                print(picture.name, runs[-1], f"{time.perf_counter() - began:.1f} s", flush=True)
                write(runs, command, options.out)


def held_out(folder: Path) -> list[Photograph]:
    """The validation photographs, at the size of the evaluated ones."""
    manifest = Path(str(files("sfumato_image"))) / "weights" / "photo" / "manifest.json"
    found = []
    for entry in json.loads(manifest.read_text(encoding="utf-8")):
        if entry["split"] != "validation":
            continue
        path = folder / entry["package"] / entry["path"]
        photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        factor = (640 if max(photo.size) > 600 else 480) / max(photo.size)
        size = (round(photo.width * factor), round(photo.height * factor))
        pixels = np.array(photo.resize(size, Image.Resampling.LANCZOS))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        found.append(Photograph(path.stem, "held out", tensor))
    return found


def measured(
    case: Case, task: str, setting: Setting, prior: sf.Prior, options: argparse.Namespace
) -> dict[str, Any]:
    """One setting on one photograph."""
    solver, steps, more = setting
    result = sf.reconstruct(
        prior, case.operator, case.y, n=options.n, seed=0, solver=solver, steps=steps,
        options=more, device=options.device,
    )  # fmt: skip
    samples = case.finish(result.samples)
    mean, average = case.finish(torch.stack([result.mean, result.average]))
    low, high = result.interval(0.9)
    inside = (case.truth >= low.cpu()) & (case.truth <= high.cpu())
    if case.known is not None:
        inside = inside[(~case.known).expand(inside.shape)]
    known = torch.zeros_like(case.truth, dtype=torch.bool) if case.known is None else case.known
    left = ~known.cpu().expand_as(case.truth)
    settings = {} if steps is None else {"steps": steps}
    return {
        "task": task, "solver": solver,
        "settings": ", ".join(f"{k} {v}" for k, v in {**settings, **more}.items()) or "default",
        "psnr": float(psnr(mean, case.truth)), "average": float(psnr(average, case.truth)),
        "psnr1": float(psnr(samples[0], case.truth)),
        "spread": spread_ratio(samples.cpu()[:, left], case.truth.cpu()[left]),
        "cov90": inside.float().mean().item(),
        "nfe": result.nfe,
    }  # fmt: skip


def write(runs: list[dict[str, Any]], command: str, out: Path) -> None:
    """The result file: every run, and the means of every setting."""
    keys = dict.fromkeys((run["task"], run["solver"], run["settings"]) for run in runs)
    result = {
        "command": command,
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "columns": COLUMNS,
        "formats": FORMATS,
        "note": "Central crops of held-out photographs of the training data; means over them.",
        "rows": [
            summed([run for run in runs if (run["task"], run["solver"], run["settings"]) == key])
            for key in sorted(keys, key=lambda key: list(TASKS).index(key[0]))
        ],
        "runs": runs,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(out)


def summed(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(runs)
    means = {key: statistics.fmean(run[key] for run in found) for key in FORMATS}
    first = {"problem": TASKS[found[0]["task"]].label, "pictures": len(found)}
    return first | {key: found[0][key] for key in ("solver", "settings")} | means


if __name__ == "__main__":
    main()
