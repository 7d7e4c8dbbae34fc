"""Trains the ``photo`` prior on one GPU, by the clock: the recipe of ``photos.py`` at its speed.

    python examples/priors/fetch.py photos data/
    python examples/priors/photos_cuda.py data/ --out photo/ --seconds 400

The network, the photographs and the loss are those of ``photos.py``; everything else happens on the
device. All pictures lie in its memory, at eight sizes each; crops, turns, levels, noise and maps of
uneven noise are drawn there for a whole batch at once. A share of the items is uneven
(``sfumato.training.uneven``): some of their pixels are known, so the network learns to fill in.
The rate rises for 300 steps, stays, and falls linearly over the last 40 % of the time.

``--weights FILE`` starts from earlier weights; those of a network without a noise map get one that
does nothing yet.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photos import (
    MANIFEST,
    Corners,
    denoising_psnr,
    filling_psnr,
    grey,
    largest,
    resized,
    untrained,
    warm,
)  # fmt: skip
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from sfumato.denoisers import Preconditioned
from sfumato.networks.unet import Block
from sfumato.priors import Prior
from sfumato.processes import Level
from sfumato.training.losses import denoising_loss
from sfumato.training.uneven import BLIND, WIDTHS, uneven_weight

LARGE = (2000, 1600, 1270, 1000, 800, 640, 500, 400)
SMALL = (480, 420, 360, 300, 240)
"""Longest sides at which photographs above and below 600 pixels are seen."""
CROP, BATCH = 96, 128
RATE, WARM_UP, FALL = 1e-3, 300, 0.4
MEAN, STD = -1.5, 1.4
"""Of ln σ/α where levels are even."""
AVERAGE = 0.9995, 0.999
"""EMA of the weights while the rate is constant, and while it falls."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """All pictures in one row of bytes on the device."""

    bytes: Tensor
    starts: Tensor
    heights: Tensor
    widths: Tensor
    places: Tensor
    """Cumulative probability of each picture, which grows as the root of its area."""

    @classmethod
    def of(cls, pictures: list[np.ndarray], device: torch.device) -> Pictures:
        flat = torch.from_numpy(np.concatenate([p.reshape(-1) for p in pictures])).to(device)
        sizes = torch.tensor([p.shape[:2] for p in pictures], device=device)
        areas = sizes.prod(dim=1)
        starts = torch.cat([areas.new_zeros(1), (3 * areas).cumsum(0)[:-1]])
        weights = areas.double().sqrt()
        return cls(flat, starts, sizes[:, 0], sizes[:, 1], (weights / weights.sum()).cumsum(0))

    def crops(self, count: int, side: int) -> Tensor:
        """Random crops in [0, 1], turned and mirrored.

        One in ten has its channels shuffled, another one in ten is grey.
        """
        device = self.bytes.device
        u = torch.rand(5, count, dtype=torch.float64, device=device)
        chosen = torch.searchsorted(self.places, u[0]).clamp(max=len(self.places) - 1)
        top = (u[1] * (self.heights[chosen] - side + 1)).long()
        left = (u[2] * (self.widths[chosen] - side + 1)).long()
        line = torch.arange(side, device=device)
        rows, columns = line[None, :, None], line[None, None, :]
        turn = (u[3] * 8).long()[:, None, None]
        rows, columns = (
            torch.where(turn % 2 == 1, columns, rows), torch.where(turn % 2 == 1, rows, columns),
        )  # fmt: skip
        rows = torch.where(turn // 2 % 2 == 1, side - 1 - rows, rows)
        columns = torch.where(turn // 4 == 1, side - 1 - columns, columns)
        pixel = (top[:, None, None] + rows) * self.widths[chosen][:, None, None]
        pixel = pixel + left[:, None, None] + columns
        order = torch.rand(count, 3, device=device).argsort(dim=1)
        order = torch.where(u[4][:, None] < 0.1, order, torch.arange(3, device=device))
        index = self.starts[chosen][:, None, None, None] + 3 * pixel[:, None]
        crops = self.bytes[index + order[:, :, None, None]].float() / 255
        return torch.where(u[4][:, None, None, None] >= 0.9, grey(crops), crops)


def read(folder: Path, device: torch.device) -> tuple[Pictures, Corners]:
    """The photographs of the manifest: those to train on at all sizes, and those held out."""

    def sizes(entry: dict[str, Any]) -> list[np.ndarray]:
        with Image.open(folder / entry["package"] / entry["path"]) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
        longest = max(photo.size)
        if entry["split"] == "validation":
            return [resized(photo, 640 if longest > 600 else 480)]
        sides = LARGE if longest > 600 else SMALL
        limit = largest(entry["path"], longest)
        found = [resized(photo, side) for side in sides if side <= limit]
        return [p for p in found if min(p.shape[:2]) >= CROP]

    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    with ThreadPoolExecutor(16) as pool:
        made = list(zip(manifest, pool.map(sizes, manifest), strict=True))
    training = [p for entry, found in made if entry["split"] != "validation" for p in found]
    held_out = [p for entry, found in made if entry["split"] == "validation" for p in found]
    return Pictures.of(training, device), Corners(held_out)


def levels(denoiser: Preconditioned, count: int, some: int, side: int) -> Level:
    """A level for every pixel of every item; the first ``some`` of the items are uneven."""
    device = denoiser.device
    process = denoiser.process
    schedule = process.schedule
    low = float(process.level(schedule.t_min).log_ratio)
    high = float(process.level(schedule.t_max).log_ratio)
    u = (torch.rand((), device=device) + torch.arange(count, device=device) / count) % 1
    u = u[torch.randperm(count, device=device)].double().clamp(1e-6, 1 - 1e-6)
    top = (MEAN + STD * torch.special.ndtri(u)).clamp(low, high)
    draws = torch.rand(4, some, dtype=torch.float64, device=device)
    begin = max(math.log(BLIND), low)
    blind = begin + (high - begin) * draws[0]
    top[:some] = torch.where(draws[1] < 0.5, blind, top[:some])
    share = draws[2] * 2 - 1
    known = torch.where(share < 0, low, low + (top[:some] - low) * share)
    field = blobs(some, side, device).flatten(1)
    rank = (draws[3] * side * side).long().clamp(max=side * side - 1)
    threshold = field.sort(dim=1).values.gather(1, rank[:, None])
    ratios = top[:, None].expand(count, side * side).clone()
    ratios[:some] = torch.where(field < threshold, known[:, None], ratios[:some])
    ratios = ratios.view(count, 1, side, side)
    each = process.level(schedule.time_of(ratios))
    return Level(schedule.time_of(top), each.alpha, each.sigma, process)


def blobs(count: int, side: int, device: torch.device) -> Tensor:
    """Smooth random fields; every width has its share of the items."""
    parts = []
    for index, width in enumerate(WIDTHS):
        many = count * (index + 1) // len(WIDTHS) - count * index // len(WIDTHS)
        if not many:
            continue
        coarse = max(2, -(-side // width) + 1)
        field = torch.rand(many, 1, coarse, coarse, device=device)
        if width > 1:
            field = functional.interpolate(field, size=(side, side), mode="bilinear")
        parts.append(field[:, 0, :side, :side])
    return torch.cat(parts)


@dataclass(eq=False)
class Trainer:
    """The loop, by the clock.

    Args:
        prior: With the network to train, on the device.
        pictures: To train on.
        seconds: From ``began`` to the end.
        began: Of ``time.perf_counter``.
        batch: Items of a step.
        crop: Their side.
        uneven: Share of the items that are uneven.
    """

    prior: Prior
    pictures: Pictures
    seconds: float
    began: float
    batch: int
    crop: int
    uneven: float
    steps: int = 0

    def __post_init__(self) -> None:
        self.network = self.prior.network
        self.denoiser = self.prior.learner(self.network)
        self.device = next(self.network.parameters()).device
        self.weights = list(self.network.parameters())
        self.average = [p.detach().clone() for p in self.weights]
        cuda = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=cuda
        )
        self.autocast = torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()

    @property
    def part(self) -> float:
        """How much of the time is over."""
        return (time.perf_counter() - self.began) / self.seconds

    def step(self) -> Tensor:
        """One step of the optimiser; returns the mean weighted error."""
        falling = (1 - self.part) / FALL
        rate = RATE * max(min(1.0, falling, (self.steps + 1) / WARM_UP), 0.01)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x_0 = self.prior.codec.encode(self.pictures.crops(self.batch, self.crop))
        level = levels(self.denoiser, self.batch, round(self.uneven * self.batch), self.crop)
        w = uneven_weight("edm", self.denoiser, level, 5.0)
        with self.autocast:
            losses = denoising_loss(
                self.denoiser, x_0, level=level, noise=torch.randn_like(x_0), w=w,
                uncertainty=True,
            )  # fmt: skip
        (losses.error + 0.05 * losses.head).mean().backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(AVERAGE[falling < 1], (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - decay)
        self.steps += 1
        return losses.error.detach().mean()

    def averaged(self) -> Prior:
        """The prior with the averaged weights, on the CPU."""
        prior = untrained()
        state = dict(zip(dict(self.network.named_parameters()), self.average, strict=True))
        prior.network.load_state_dict({k: v.cpu() for k, v in state.items()}, strict=False)
        return prior


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that fetch.py filled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--weights", type=Path, help="start from these")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--crop", type=int, default=CROP)
    parser.add_argument("--uneven", type=float, default=0.5, help="share of the items")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    began = time.perf_counter()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    pictures, rest = read(arguments.data, device)
    prior = untrained() if arguments.weights is None else warm(untrained(), arguments.weights)
    prior = prior.to(device)
    prior.network.train().requires_grad_()
    trainer = Trainer(
        prior, pictures, arguments.seconds, began, arguments.batch, arguments.crop,
        arguments.uneven,
    )  # fmt: skip
    print(f"{time.perf_counter() - began:.1f} s: {len(pictures.bytes) / 3e6:.1f} Mpx", flush=True)
    if not arguments.no_compile:
        compile_blocks(trainer)
        print(f"{time.perf_counter() - began:.1f} s: first step done", flush=True)
    reported = saved = time.perf_counter()
    total, count = torch.zeros((), device=device), 0
    while trainer.part < 1:
        total += trainer.step()
        count += 1
        now = time.perf_counter()
        if now - reported > 15:
            mean = total.item() / count
            print(
                f"{now - began:.0f} s: step {trainer.steps}, loss {mean:.5f}, "
                f"{count / (now - reported):.1f} steps/s", flush=True,
            )  # fmt: skip
            reported, count = now, 0
            total.zero_()
            if not math.isfinite(mean):
                raise SystemExit("the loss is not finite")
        if now - saved > 90:
            write(trainer, rest, arguments.out, device)
            saved = reported = time.perf_counter()
    write(trainer, rest, arguments.out, device)


def compile_blocks(trainer: Trainer) -> None:
    """Compiles the blocks, of which there are three kinds, and takes a first step.

    The whole network at once would be a little faster, and take a minute longer to compile.
    """
    blocks = [module for module in trainer.network.modules() if isinstance(module, Block)]
    for block in blocks:
        block.compile(dynamic=False)
    try:
        trainer.step()
    except Exception as error:  # whatever the compiler lacks, training goes on
        print(f"not compiled: {str(error)[:300]}", flush=True)
        for block in blocks:
            block._compiled_call_impl = None


def write(trainer: Trainer, rest: Corners, out: Path, device: torch.device) -> None:
    """Scores the averaged weights on the held-out photographs and saves them."""
    prior = trainer.averaged()
    if out.exists():
        prior.save(out, overwrite=True)
    else:
        prior.save(out)
    prior = prior.to(device)
    scores = {"denoising": denoising_psnr(prior, rest), "filling": filling_psnr(prior, rest)}
    scores |= {"steps": trainer.steps, "seconds": round(time.perf_counter() - trainer.began)}
    (out / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    print(scores, flush=True)


if __name__ == "__main__":
    main()
