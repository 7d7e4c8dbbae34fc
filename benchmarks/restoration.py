"""Restoration of photographs: the default solver beside baselines, and peers with the same network.

    python benchmarks/restoration.py                     bundled photographs, CBSD68 if found
    python benchmarks/restoration.py --limit 12          12 of CBSD68, evenly spaced
    python benchmarks/restoration.py --tasks sr4 deblur --methods sfumato bicubic --images chelsea
    python benchmarks/restoration.py --smoke             one tiny crop, few methods
    python benchmarks/restoration.py --device cuda --share 1/4 --out a.json    a quarter of them
    python benchmarks/restoration.py --join a.json b.json                      adds their rows

CBSD68 is a folder of 68 PNG files, given by ``--data`` or found at $SFUMATO_DATA/images/CBSD68.
Every result is written to ``benchmarks/results/restoration.json`` when it is there; a run that was
interrupted goes on where it was. ``sfumato:NAME`` as a method is another solver than the default,
``sfumato:NAME@STEPS`` with so many steps.
The CPU seconds of the tables are those of rows measured on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from classical import CLASSICAL
from classical import run as run_classical
from degradations import STANDARD, TASKS, Case
from photographs import centre, folder_of, load
from records import Records, shown
from same_network import DETERMINISTIC, PEERS, Counted, applies
from sfumato.evaluation.calibration import error_correlation
from sfumato.inverse import registry
from sfumato.results import Result
from sfumato_image.metrics import psnr, ssim

RESULTS = Path(__file__).parent / "results" / "restoration.json"
METHODS = ("sfumato", "sfumato:admm", "sfumato:admm@8", *CLASSICAL, *PEERS)
OPTIONAL = ("deepinv-diffpir", "diffusers-repaint-90-1")
STANDARD_METHODS = tuple(name for name in METHODS if name not in OPTIONAL)
SMOKE = (
    "sfumato", "bicubic", "wiener", "tv", "biharmonic", "once", "deepinv-dpir", "deepinv-ddrm",
    "deepinv-diffpir-20", "diffusers-repaint",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    prior = sf.Prior.load(options.prior, plugin="image").to(options.device)
    pictures = load(options.images, folder_of(options.data), options.limit)
    part, parts = options.share
    pictures = pictures[part - 1 :: parts]
    command = shown("benchmarks/restoration.py", arguments or sys.argv[1:])
    records = Records(options.out, command, prior.hash(), options.n, options.size)
    if options.join:
        records.join(options.join)
        return
    for library in ("deepinv", "diffusers"):  # importing is not what is timed
        if any(name.startswith(library) for name in options.methods):
            importlib.import_module(library)
    for picture in pictures:
        truth = centre(picture.data, options.size)
        for task in options.tasks:
            case = TASKS[task].case(picture, truth)
            for method in able(options.methods, case):
                key = {"task": task, "image": picture.name, "method": method}
                if not options.again and records.has(key):
                    continue
                row = key | {"set": picture.group} | measured(method, case, prior, options)
                records.add(row)
                tell(row)
    records.save()


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(STANDARD), choices=[*TASKS, "all"])
    parser.add_argument("--images", nargs="+", default=[], help="names, photos, CBSD68")
    parser.add_argument("--limit", type=int, help="so many of CBSD68, evenly spaced")
    parser.add_argument("--methods", nargs="+", help=", ".join(METHODS))
    parser.add_argument("--data", type=Path, help="folder of CBSD68")
    parser.add_argument("--prior", default="photo", help="name or folder")
    parser.add_argument("--size", type=int, default=256, help="side of the crops")
    parser.add_argument("--n", type=int, default=4, help="samples")
    parser.add_argument("--steps", type=int, help="of our solvers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--again", action="store_true", help="repeat what has been done")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--share", type=share, default=(1, 1), help="i/k: every k-th picture")
    parser.add_argument("--join", nargs="+", type=Path, help="only add rows of these files")
    parser.add_argument("--out", type=Path, help=f"{RESULTS.name} of results/ if not given")
    options = parser.parse_args(arguments)
    if options.out is None:
        smoke = Path(tempfile.gettempdir()) / RESULTS.name
        options.out = smoke if options.smoke else RESULTS
    if options.smoke:
        options.images, options.size, options.n, options.steps = ["chelsea"], 32, 2, 2
    if "all" in options.tasks:
        options.tasks = list(TASKS)
    options.methods = options.methods or list(SMOKE if options.smoke else STANDARD_METHODS)
    for name in options.methods:
        if name not in METHODS and not name.startswith("sfumato:"):
            parser.error(f"no method '{name}'; there are {', '.join(METHODS)}, sfumato:SOLVER")
    return options


def share(text: str) -> tuple[int, int]:
    """Which share of how many."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"'{text}': write 1/4 for the first quarter")
    return int(part), int(parts)


def able(methods: Iterable[str], case: Case) -> Iterable[str]:
    """The methods that can do the task."""
    for name in methods:
        if name in CLASSICAL:
            if case.task.kind in CLASSICAL[name].grids:
                yield name
        elif name.startswith("sfumato") or applies(name, case):
            yield name


def measured(
    method: str, case: Case, prior: sf.Prior, options: argparse.Namespace
) -> dict[str, Any]:
    """One method on one picture."""
    if method in CLASSICAL:
        found = run_classical(method, case)
        return {
            "library": "classical", "solver": method, "settings": found.setting,
            **judged(found.picture[None], case), "nfe": 0, "cpu": found.cpu, "wall": found.wall,
        }  # fmt: skip
    cpu, wall = time.process_time(), time.perf_counter()
    if method.startswith("sfumato"):
        result = ours(method, case, prior, options)
        said = said_of(method, case, result)
    else:
        result, said = theirs(method, case, prior, options.n)
    used = time.process_time() - cpu if options.device == "cpu" else None
    seconds = {"cpu": used, "wall": time.perf_counter() - wall, "device": options.device}
    scores = judged(case.finish(result.samples), case, mean=case.finish(result.mean[None])[0])
    if result.n > 1:
        scores |= uncertainty(result, case)
    return said | scores | {"nfe": result.nfe} | seconds


def ours(method: str, case: Case, prior: sf.Prior, options: argparse.Namespace) -> Result:
    solver, steps = chosen(method)
    point = solver in registry.METHODS and registry.load(registry.METHODS[solver].part).point
    return sf.reconstruct(
        prior, case.operator, case.y, n=1 if point else options.n, seed=0, solver=solver,
        steps=steps or options.steps, device=options.device,
    )  # fmt: skip


def chosen(method: str) -> tuple[str, int | None]:
    """Solver and steps of ``sfumato:SOLVER@STEPS``."""
    solver, _, steps = method.partition(":")[2].partition("@")
    return solver or "auto", int(steps) if steps else None


def said_of(method: str, case: Case, result: Result) -> dict[str, Any]:
    """What was run, and what the result says of itself."""
    chi2, steps = float(result.chi2.mean()), chosen(method)[1]
    name = result.record["solver"] + ("" if ":" in method else " (default)")
    return {
        "library": "sfumato", "solver": name, "settings": f"{steps} steps" if steps else "",
        "chi2": chi2 if case.sigma else None,
        "residual": float(result.residual.mean()), "reason": result.record["reason"],
        "options": result.record["solver_options"],
    }  # fmt: skip


def theirs(method: str, case: Case, prior: sf.Prior, n: int) -> tuple[Result, dict[str, Any]]:
    """A peer's samples; it draws from the global generator, so that one is seeded and restored."""
    library, solver, peer = PEERS[method]
    network = Counted(prior, tuple(case.truth.shape))
    count = 1 if method in DETERMINISTIC else n
    y = case.y.to(prior.device).expand(count, *case.y.shape[1:]).clone()
    with (
        warnings.catch_warnings(),
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        torch.random.fork_rng(),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        samples = peer(case, network, y).cpu()
    nan = torch.full((count,), float("nan"))
    nfe = network.evaluations / count
    result = Result(samples, case.y[0], nan, nan, (0.0, 0.0), float("nan"), nfe, 0.0, 0.0)
    name, _, settings = solver.partition(", ")
    return result, {"library": library, "solver": name, "settings": settings}


def judged(samples: Tensor, case: Case, *, mean: Tensor | None = None) -> dict[str, Any]:
    """PSNR and SSIM of the mean, and of the first sample alone if there are several.

    The mean is what the method calls its posterior mean, the samples' average if it has no other.
    """
    mean = samples.mean(dim=0) if mean is None else mean
    scores = {"psnr": float(psnr(mean, case.truth)), "ssim": float(ssim(mean, case.truth))}
    if len(samples) > 1:
        scores["psnr1"] = float(psnr(samples[0], case.truth))
        scores["ssim1"] = float(ssim(samples[0], case.truth))
    return scores


def uncertainty(result: Result, case: Case) -> dict[str, Any]:
    """Coverage of 90 % intervals, and how the spread follows the error, where x is not known."""
    low, high = result.interval(0.9)
    unknown = torch.ones_like(case.truth, dtype=torch.bool)
    if case.known is not None:
        unknown = unknown & ~case.known
    inside = (case.truth >= low) & (case.truth <= high)
    return {
        "cov90": float(inside[unknown].double().mean()),
        "corr": error_correlation(result.samples[:, unknown], case.truth[unknown]),
    }


def tell(row: dict[str, Any]) -> None:
    parts = [f"{row['image']:16} {row['task']:8} {row['method']:22} {row['psnr']:6.2f} dB"]
    if "psnr1" in row:
        parts.append(f"one {row['psnr1']:6.2f}")
    if "cov90" in row:
        parts.append(f"covers {row['cov90']:.3f}")
    parts.append(f"{row['nfe']:g} evaluations, {row['cpu']:.1f} CPU s {row['settings']}")
    print("  ".join(parts), flush=True)


if __name__ == "__main__":
    main()
