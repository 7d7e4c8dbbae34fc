"""Trains the ``photo`` prior: colour photographs of any size.

    python examples/priors/fetch.py photos data/
    python examples/priors/photos.py data/ --out photo/ --bf16 --compile

102 photographs under CC0, CC-BY and CC-BY-SA from six Debian packages (the manifest beside the
shipped weights names each with its author), of which 8 are held out. Every photograph is seen at
several sizes, so that the network meets fine and coarse detail; a crop of 80×80 comes from a
picture with a probability that grows as the root of its area, turned and mirrored, with its
channels shuffled one time in ten, and grey another one in ten. 20,000 steps of 12 crops take about
85 minutes on one CPU core with bf16 and compilation.

Half of the items are uneven (``sfumato.training.uneven``), and every item is weighed by the error
that the network expects (``weight="uncertainty"``): the error of a filled pixel is small beside
that of a noisy one, and weighed as in EDM it would leave filling in almost no gradient.

``--weights FILE`` starts from weights in place of random ones: a ``safetensors`` file, or a
``torch.save`` of a state dictionary (alone, or under the key ``ema``).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.networks import UNet
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Level
from sfumato.training import Step, TrainConfig, finetune

MANIFEST = Path(str(files("sfumato_image"))) / "weights" / "photo" / "manifest.json"
LARGE, SMALL = (1600, 1000, 640, 420), (480, 320)
"""Longest sides at which photographs above and below 600 pixels are seen."""
WEBP = 5 / 9
"""Of its size, at most, a WebP file is seen: that hides what compression did to fine detail."""
CROP = 80
OPTIONS: dict[str, Any] = {
    "channels": 3, "widths": (64, 128, 160), "blocks": (2, 2, 3), "fold": 2, "variance": True,
    "noise_map": True,
}  # fmt: skip
CONFIG = TrainConfig(
    steps=20_000,
    batch=12,
    lr=1e-3,
    betas=(0.9, 0.99),
    schedule="wsd",
    warmup=500,
    decay=0.3,
    clip=1.0,
    ema=0.9995,
    ema_final=0.999,
    weight="uncertainty",
    times="log-normal",
    times_mean=-1.5,
    times_std=1.4,
    variance_weight=0.05,
    uneven=0.5,
    validation_every=2000,
    validation_items=64,
    checkpoint_minutes=4,
    log_every=50,
)


@dataclass(frozen=True)
class Crops:
    """Random crops of pictures, as floats in [0, 1]."""

    mirrors: ClassVar[tuple[int, ...]] = (-1, -2)
    pictures: Sequence[np.ndarray]
    rest: Corners | None = None
    card: dict[str, Any] = field(default_factory=dict)
    places: Tensor = field(init=False)

    def __post_init__(self) -> None:
        areas = torch.tensor([p.shape[0] * p.shape[1] for p in self.pictures]).double().sqrt()
        object.__setattr__(self, "places", (areas / areas.sum()).cumsum(0))

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        # which picture is drawn by weight, so the index says nothing here
        u = torch.rand(1, dtype=torch.float64, generator=generator)
        chosen = min(int(torch.searchsorted(self.places, u)), len(self) - 1)
        picture = self.pictures[chosen]
        top, left = (below(n - CROP + 1, generator) for n in picture.shape[:2])
        square = picture[top : top + CROP, left : left + CROP].copy()
        crop = torch.from_numpy(square).permute(2, 0, 1)
        turn = below(8, generator)
        crop = crop.rot90(turn % 4, (1, 2))
        crop = crop.flip(1) if turn > 3 else crop
        change = below(10, generator)
        if change == 0:
            crop = crop[torch.randperm(3, generator=generator)]
        crop = crop.float() / 255
        return grey(crop) if change == 1 else crop

    def validation(self) -> Corners | None:
        return self.rest


@dataclass(frozen=True)
class Corners:
    """The top left 256×256 of every picture, as floats in [0, 1]."""

    pictures: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        corner = self.pictures[index][:256, :256]
        return torch.from_numpy(corner.copy()).permute(2, 0, 1).float() / 255


def grey(crop: Tensor) -> Tensor:
    """Three equal channels: the luma, rounded as a grey file would hold it."""
    luma = (crop * crop.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=-3, keepdim=True)
    return ((luma * 255).round() / 255).expand_as(crop)


def below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))


def read(folder: Path) -> Crops:
    """Reads the photographs of the manifest, at all their sizes."""
    training, validation = [], []
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    for entry in manifest:
        with Image.open(folder / entry["package"] / entry["path"]) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
        longest = max(photo.size)
        if entry["split"] == "validation":
            validation.append(resized(photo, 640 if longest > 600 else 480))
            continue
        sides = LARGE if longest > 600 else SMALL
        limit = largest(entry["path"], longest)
        training += [resized(photo, side) for side in sides if side <= limit]
    about = {
        "photographs": [
            {
                "file": Path(e["path"]).name,
                **{k: e[k] for k in ("package", "author", "licence", "split")},
            }
            for e in manifest
        ]
    }
    return Crops(training, Corners(validation), about)


def largest(path: str, longest: int) -> float:
    """Longest side at which a photograph may be seen, given that of its file."""
    return longest * WEBP if path.endswith(".webp") else longest


def resized(photo: Image.Image, longest: int) -> np.ndarray:
    factor = longest / max(photo.size)
    if factor == 1:
        return np.asarray(photo)
    size = (round(photo.width * factor), round(photo.height * factor))
    return np.asarray(photo.resize(size, Image.Resampling.LANCZOS))


def untrained() -> Prior:
    """The prior with random weights; pixels in [0, 1] are −1 … 1 to the network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(**OPTIONS).to(memory_format=torch.channels_last)
    denoiser = Preconditioned(network, Gaussian(), spread=0.5, head="variance", mirrors=(-1, -2))
    card = {
        "name": "photo",
        "summary": "colour photographs of any size",
        "licence": "weights trained on CC0, CC-BY-4.0, CC-BY-SA-3.0 and CC-BY-SA-4.0 photographs",
    }
    return Prior(denoiser, Affine(0.5, 0.5), (3, None, None), "image", "unet", OPTIONS, card)


def warm(prior: Prior, path: Path) -> Prior:
    """The prior with the weights of a file."""
    if path.suffix == ".safetensors":
        weights = load_file(path)
    else:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        weights = stored.get("ema", stored)
    old, new = weights["first.weight"], prior.network.state_dict()["first.weight"]
    if old.shape[1] < new.shape[1]:  # a network without a noise map: the map's channels come last
        wide = torch.zeros_like(new)
        wide[:, : old.shape[1]] = old
        weights = {**weights, "first.weight": wide}
    prior.network.load_state_dict(weights)
    return prior


@torch.no_grad()
def denoising_psnr(prior: Prior, pictures: Corners) -> dict[int, float]:
    """Mean PSNR in dB after one evaluation, at noise of 15, 25 and 50 of 255."""
    result = {}
    for noise in (15, 25, 50):
        level = prior.process.at_ratio(noise / 127.5)
        scores = []
        for index in range(len(pictures)):
            source = torch.Generator().manual_seed(index)
            x = prior.codec.encode(pictures.item(index, source)[None])
            x_t = x + noise / 127.5 * torch.randn(x.shape, generator=source)
            found = prior.denoiser(x_t.to(prior.device), level).mean.cpu()
            scores.append(10 * math.log10(4 / (found - x).square().mean().item()))
        result[noise] = round(sum(scores) / len(scores), 3)
    return result


@torch.no_grad()
def filling_psnr(prior: Prior, pictures: Corners) -> dict[str, float]:
    """Mean PSNR in dB over whole pictures, after one evaluation, where some pixels are known.

    The known ones are half of all, drawn one by one, or all but four squares of 16×16.
    """
    process = prior.process
    largest = process.level(process.schedule.t_max)
    smallest = process.level(process.schedule.t_min)
    result = {}
    for kind in ("half", "holes"):
        scores = []
        for index in range(len(pictures)):
            source = torch.Generator().manual_seed(index)
            x = prior.codec.encode(pictures.item(index, source)[None])
            known = torch.rand(x[:, :1].shape, generator=source) < 0.5
            if kind == "holes":
                known = torch.ones_like(known)
                for top, left in ((40, 40), (40, 190), (190, 40), (190, 190)):
                    known[..., top : top + 16, left : left + 16] = False
            sigma = torch.where(known, smallest.sigma, largest.sigma)
            x_t = x + sigma.float() * torch.randn(x.shape, generator=source)
            parts = (largest.t[None], torch.ones_like(sigma), sigma)
            level = Level(*(part.to(prior.device) for part in parts), process)
            found = prior.denoiser(x_t.to(prior.device), level).mean.cpu()
            error = torch.where(known, 0.0, found - x).square().mean().item()
            scores.append(10 * math.log10(4 / error))
        result[kind] = round(sum(scores) / len(scores), 3)
    return result


def report(step: Step) -> None:
    if (step.index + 1) % 500 == 0:
        print(f"{step.index + 1}: loss {step.loss:.4f}, {step.seconds:.3f} s per step", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that fetch.py filled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=CONFIG.steps)
    parser.add_argument("--weights", type=Path, help="start from these")
    parser.add_argument("--lr", type=float, default=CONFIG.lr)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    start = untrained() if arguments.weights is None else warm(untrained(), arguments.weights)
    config = replace(
        CONFIG,
        steps=arguments.steps,
        lr=arguments.lr,
        compile=arguments.compile,
        mixed_precision="bf16" if arguments.bf16 else "auto",
    )
    data = read(arguments.data)
    prior = finetune(
        start, data, out=arguments.out, config=config, resume=arguments.resume, callback=report
    )
    if data.rest is not None:
        print(prior, denoising_psnr(prior, data.rest), filling_psnr(prior, data.rest))


if __name__ == "__main__":
    main()
