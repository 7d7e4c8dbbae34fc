"""What the library costs beside the network, and how long whole tasks take.

    python benchmarks/speed.py                     everything
    python benchmarks/speed.py --only loops        overhead per network call, peers included
    python benchmarks/speed.py --only presets      the same for every sampler that has a name
    python benchmarks/speed.py --only prior        share of the overhead with the photo prior
    python benchmarks/speed.py --only tasks        512² super-resolution, a 12-megapixel scratch
    python benchmarks/speed.py --only start        imports and the command line
    python benchmarks/speed.py --smoke             everything, small, to see that it runs

Loops are timed in processor time on one thread, the best of three runs, so other programs on the
machine disturb them little. Tasks and starts are wall-clock time in processes of their own, on all
cores. Each row has the load average at its time: above the number of cores, wall-clock times are
too long. Writes ``benchmarks/results/speed.json``; parts that did not run keep their rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed.json"
PARTS = ("loops", "presets", "prior", "tasks", "start")
COLUMNS = {
    "problem": "Part", "library": "Library", "method": "What", "ms": "Overhead per call (ms)",
    "noise": "Of it noise (ms)",
    "network": "Network per call (ms)", "share": "Overhead (%)", "calls": "Calls",
    "backward": "Backward passes",
    "seconds": "Wall time (s)", "cpu": "Processor time (s)", "peak": "Peak memory (GB)",
    "torch": "Imports torch", "goal": "Goal", "load": "Load",
}  # fmt: skip
FORMATS = {"ms": ".2f", "noise": ".2f", "network": ".0f", "share": ".2f", "seconds": ".2f",
           "cpu": ".1f", "peak": ".2f", "load": ".1f", "calls": ".0f",
           "backward": ".0f"}  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--smoke", action="store_true", help="small and quick; no use as a result")
    parser.add_argument("--prior", default="photo", help="name or folder of the photo prior")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--task", choices=tuple(TASKS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        print(json.dumps(TASKS[given.task](given.prior, given.smoke)))
        return
    parts: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
        "loops": loops, "presets": presets, "prior": shares, "tasks": tasks, "start": starts,
    }  # fmt: skip
    chosen = given.only or list(PARTS)
    old = json.loads(given.out.read_text(encoding="utf-8"))["rows"] if given.out.exists() else []
    rows = [row for row in old if row["problem"] not in chosen]
    for part in chosen:
        for row in parts[part](given):
            rows.append({"problem": part, **row, "load": os.getloadavg()[0]})
            print(" ".join(f"{key} {shown(value)}" for key, value in rows[-1].items()), flush=True)
    rows.sort(key=lambda row: PARTS.index(row["problem"]))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report(rows, given.smoke), indent=1, ensure_ascii=False)
    given.out.write_text(text + "\n", encoding="utf-8")


def loops(given: argparse.Namespace) -> Iterator[Row]:
    """Overhead with a network that does nothing, ours and the peers'."""
    import torch

    from loops import Clocked, Null, clocked, null_denoiser, our_loops, peer_loops

    torch.set_num_threads(1)
    shape, steps, repeats = ((2, 3, 16, 16), 4, 1) if given.smoke else ((8, 3, 64, 64), 50, 3)
    networks: list[Clocked] = []

    def denoiser(spread: bool) -> Any:
        networks.append(Clocked(Null(2 if spread else 1)))
        return null_denoiser(networks[-1])

    for method, loop in our_loops(denoiser, shape, steps):
        outside, _, calls = clocked(loop, networks[-1], repeats)
        yield {"library": "sfumato", "method": method, "ms": 1e3 * outside, "calls": calls,
               "backward": networks[-1].backward, "goal": "1 ms"}  # fmt: skip
    for library, method, loop, network in peer_loops(shape, steps):
        outside, _, calls = clocked(loop, network, repeats)
        yield {"library": library, "method": method, "ms": 1e3 * outside, "calls": calls,
               "backward": network.backward}  # fmt: skip


def presets(given: argparse.Namespace) -> Iterator[Row]:
    """Overhead of every sampler with a name, and what of it is spent on drawing noise."""
    import torch

    from loops import Clocked, Null, clocked, drawing, null_denoiser, prior_loop
    from sfumato.samplers import PRESETS, make

    torch.set_num_threads(1)
    shape, steps, repeats = ((2, 3, 16, 16), 8, 1) if given.smoke else ((8, 3, 64, 64), 20, 3)
    for name, preset in PRESETS.items():
        if not preset.selectable or {"interpolation", "manifold"} & set(preset.needs):
            continue
        network = Clocked(Null(2 if "variance" in preset.needs else 1))
        count = 3 if preset.cost is None else steps  # these take many evaluations for a step
        loop = prior_loop(make(name), null_denoiser(network), shape, count)
        outside, _, calls = clocked(loop, network, repeats)
        with drawing() as spent:
            loop()
        yield {"library": "sfumato", "method": f"`{name}`", "ms": 1e3 * outside,
               "noise": 1e3 * spent() / calls, "calls": calls, "goal": "1 ms"}  # fmt: skip


def shares(given: argparse.Namespace) -> Iterator[Row]:
    """Overhead with the photo prior in place."""
    from dataclasses import replace

    import torch

    import sfumato as sf
    from loops import Clocked, clocked, posterior_loop, prior_loop
    from sfumato.samplers import DDIM

    torch.set_num_threads(1)
    shape, steps, repeats = ((1, 3, 32, 32), 2, 1) if given.smoke else ((8, 3, 64, 64), 4, 3)
    prior = sf.Prior.load(given.prior)
    network = Clocked(prior.network)
    denoiser = replace(prior.denoiser, network=network)
    cases = {
        "DDIM": prior_loop(DDIM(), denoiser, shape, steps),
        "inpainting, Proximal": posterior_loop("proximal", denoiser, shape, steps),
    }
    for method, loop in cases.items():
        outside, inside, calls = clocked(loop, network, repeats)
        yield {
            "library": "sfumato", "method": method, "ms": 1e3 * outside, "network": 1e3 * inside,
            "share": 100 * outside / (outside + inside), "calls": calls, "goal": "1 %",
        }  # fmt: skip


def tasks(given: argparse.Namespace) -> Iterator[Row]:
    """Whole tasks, each in a process of its own, for its peak memory."""
    for name, (what, goal) in {
        "super-resolve": ("512² super-resolution ×2, 4 samples", "60 s"),
        "scratch": (
            "12-megapixel photograph, diagonal scratch 6 px wide, 4 samples",
            "120 s, 4 GB",
        ),
    }.items():
        command = [sys.executable, __file__, "--task", name, "--prior", str(given.prior)]
        command += ["--smoke"] * given.smoke
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield {"library": "sfumato", "method": what, **json.loads(done.stdout), "goal": goal}


def super_resolution(prior: str, smoke: bool) -> Row:
    """Enlarges a photograph from 256² to 512² with default settings."""
    import torch
    from skimage import data

    import sfumato as sf

    side = 64 if smoke else 512
    truth = sf.Signal(torch.from_numpy(data.astronaut()[:side, :side]).permute(2, 0, 1) / 255)
    task = sf.load_plugin("image").operator("super-resolve", factor=2, noise=1)
    small = sf.degrade(task, truth, seed=0)
    model = sf.Prior.load(prior)
    return timed(lambda: sf.reconstruct(model, task, small))


def scratch(prior: str, smoke: bool) -> Row:
    """Repairs a diagonal scratch of 6 pixels, from file to file."""
    import numpy as np
    from PIL import Image

    import sfumato as sf

    width, height = (96, 72) if smoke else (4000, 3000)
    rows, columns = np.mgrid[:height, :width]
    distance = np.abs(rows * width - columns * height) / np.hypot(width, height)
    damaged = distance <= 3
    with tempfile.TemporaryDirectory() as folder:
        photo, mask = Path(folder) / "photo.png", Path(folder) / "mask.png"
        picture = photograph(height, width)
        picture[damaged] = 255
        Image.fromarray(picture).save(photo, compress_level=1)
        Image.fromarray(damaged.astype(np.uint8) * 255).save(mask)
        del picture, damaged, distance, rows, columns
        image, model = sf.load_plugin("image"), sf.Prior.load(prior)

        def repair() -> Any:
            damaged = image.read(photo)
            result = sf.reconstruct(model, image.operator("inpaint", mask=mask), damaged)
            image.write(damaged.with_data(result.mean), Path(folder) / "restored.png")
            return result

        return timed(repair)


def photograph(height: int, width: int) -> Any:
    """Real photographs side by side, without a seam that lines up with the next."""
    import numpy as np
    from skimage import data

    pictures = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    strips = []
    for row in range(-(-height // 300)):
        tiles = [pictures[(row + k) % 4][:300, :: -1 if row % 2 else 1] for k in range(12)]
        strips.append(np.concatenate(tiles, axis=1)[:, :width])
    return np.ascontiguousarray(np.concatenate(strips)[:height])


def timed(work: Callable[[], Any]) -> Row:
    """Wall-clock and processor time of ``work``, and the peak memory of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return {
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - processor,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "calls": result.nfe,
    }


def starts(given: argparse.Namespace) -> Iterator[Row]:
    """Imports and the command line, the best of five, and whether torch came along."""
    for what, code in {
        "import sfumato": "import sfumato",
        "sfumato plugins": cli("plugins"),
        "sfumato --help": cli("--help"),
    }.items():
        found = [started(code) for _ in range(1 if given.smoke else 5)]
        seconds, torch = min(found)
        yield {"library": "sfumato", "method": what, "seconds": seconds, "torch": torch,
               "goal": "1 s, without torch"}  # fmt: skip


def cli(argument: str) -> str:
    return (
        f"import sys, runpy; sys.argv = ['sfumato', {argument!r}]\n"
        "try: runpy.run_module('sfumato', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code"
    )


def started(code: str) -> tuple[float, bool]:
    """Wall-clock time of a fresh interpreter that runs ``code``, and whether it imported torch."""
    tell = f"{code}\nimport sys; print('torch' in sys.modules, file=sys.stderr)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", tell], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stderr.split()[-1] == "True"


TASKS: dict[str, Callable[[str, bool], Row]] = {
    "super-resolve": super_resolution,
    "scratch": scratch,
}


def report(rows: list[Row], smoke: bool) -> dict[str, Any]:
    from importlib.metadata import version

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peers = ", ".join(f"{name} {found}" for name in ("diffusers", "azula", "deepinv")
                      if (found := installed(name)))  # fmt: skip
    return {
        "command": "python benchmarks/speed.py" + " --smoke" * smoke,
        "machine": f"{cores} cores of {platform.machine()}, torch {version('torch')}"
        + f", {peers}" * bool(peers),
        "columns": COLUMNS,
        "formats": FORMATS,
        "note": "Overhead is processor time on 1 thread outside the network, batch 8×3×64×64, best "
        "of 3 runs; tasks and starts are wall-clock time with all cores. *Load* is the load "
        "average at the time: wall-clock times are too long where it exceeds the cores.",
        "rows": rows,
    }


def installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
