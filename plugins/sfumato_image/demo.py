"""The whole story on bundled data: damage, restore, fine-tune, report.

The pictures come with scikit-image: a cat (Stefan van der Walt, CC0), a cup of coffee (Rachel
Michetti, CC0), an astronaut (NASA, public domain) and stained tissue (Center for Microscopy and
Molecular Imaging, no known restrictions). The shipped priors were trained on none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.api import reconstruct
from sfumato.cli.answers import progress as bar
from sfumato.evaluation.report import Section, write_report
from sfumato.inverse.tasks import Bound, Task
from sfumato.priors import Prior
from sfumato.results import Result
from sfumato.signals import Signal
from sfumato.training import LoRA, TrainConfig, finetune
from sfumato_image import PLUGIN, baselines
from sfumato_image.datasets import Pictures
from sfumato_image.metrics import psnr
from sfumato_image.operators import Deblur, Denoise, Inpaint, SuperResolve

__all__ = ["run"]

SIDE = 256
HEADER = {"format": "PNG", "dtype": "uint8", "scale": 255.0, "alpha": None, "orientation": 1}
SHORT = TrainConfig(
    steps=40, batch=8, lr=1e-3, warmup=5, ema=0.9, lora=LoRA(rank=4, alpha=8.0),
    validation_every=0, validation_items=8, samples=0, mixed_precision="no",
)  # fmt: skip

Baseline = Callable[[Tensor, Bound], Tensor]


@dataclass(frozen=True)
class Scene:
    """One thing to show.

    Args:
        name: Of the folder with its files.
        title: Heading in the report.
        photograph: Function of ``skimage.data``.
        corner: Top row and left column of the crop.
        task: What is undone.
        rivals: Classical methods, by name.
    """

    name: str
    title: str
    photograph: str
    corner: tuple[int, int]
    task: Task
    rivals: Mapping[str, Baseline] = field(default_factory=dict)


def smooth_fill(y: Tensor, bound: Bound) -> Tensor:
    support = bound.operator.support
    assert support is not None
    return baselines.biharmonic(y, mask=support)


SCENES = (
    Scene(
        "inpaint", "Scratches removed", "chelsea", (20, 100), Inpaint(),
        {"biharmonic": smooth_fill},
    ),
    Scene(
        "super-resolve", "Enlarged 4 times, from 64×64", "coffee", (100, 190),
        SuperResolve(factor=4), {"bicubic": lambda y, _: baselines.bicubic(y, factor=4)},
    ),
    Scene(
        "deblur", "Sharpened: Gaussian blur of 1.6 pixels, noise of 2/255", "astronaut", (0, 100),
        Deblur(sigma=1.6, noise=2.0),
        {"Wiener": lambda y, _: baselines.wiener(y, kernel=Deblur(sigma=1.6).blur().float())},
    ),
)  # fmt: skip


def run(
    folder: str | Path, *, seed: int = 0, progress: bool = False, prior: Prior | None = None
) -> Path:
    """Restores three photographs, fine-tunes for a moment, and writes ``report.html``.

    Args:
        folder: Where to; each scene gets a folder with its input, result and samples.
        seed: Of all randomness.
        progress: Whether to show progress bars.
        prior: Prior for RGB pictures; the shipped one if not given.

    Returns:
        Path of the report.
    """
    folder = Path(folder)
    prior = prior or PLUGIN.prior()
    sections = [scene_section(prior, scene, folder, seed, progress) for scene in SCENES]
    sections.append(fine_tuning(prior, folder, seed, progress))
    return write_report(folder / "report.html", sections, title="sfumato: four short stories")


def scene_section(prior: Prior, scene: Scene, folder: Path, seed: int, show: bool) -> Section:
    clean = crop(scene.photograph, scene.corner, SIDE)
    measured = scene.task.degrade(clean, seed=seed)
    result = restored(prior, scene.task, measured, scene.title, seed, show)
    result.save(folder / scene.name, reference=clean, overwrite=True)
    for name, signal in (("input", measured), ("truth", clean)):
        PLUGIN.write(signal, folder / scene.name / f"{name}.png")
    bound = scene.task.bind(measured)
    rivals = {name: rival(measured.data, bound) for name, rival in scene.rivals.items()}
    return Section.from_result(result, reference=clean, title=scene.title, baselines=rivals)


def fine_tuning(prior: Prior, folder: Path, seed: int, show: bool) -> Section:
    """Denoises held-out tissue before and after some training on other parts of the picture."""
    pictures = folder / "tissue"
    for index, corner in enumerate(((0, 0), (0, 256), (256, 0))):
        tile = crop("immunohistochemistry", corner, SIDE)
        PLUGIN.write(tile, pictures / f"{index}.png")
    clean = crop("immunohistochemistry", (320, 320), 128)
    task = Denoise(noise=25.0)
    measured = task.degrade(clean, seed=seed)
    before = restored(prior, task, measured, "Tissue, before fine-tuning", seed, show)
    started = time.perf_counter()
    with bar("Fine-tuning", show=show) as advance:
        tuned = finetune(
            prior, Pictures(pictures, size=64, rotations=True, validation=0.0),
            out=folder / "finetuned", config=SHORT, overwrite=True, tracker="",
            callback=lambda step: advance((step.index + 1) / SHORT.steps),
        )  # fmt: skip
    seconds = time.perf_counter() - started
    after = restored(tuned, task, measured, "Tissue, after fine-tuning", seed, show)
    after.save(folder / "denoise", reference=clean, overwrite=True)
    gains = [float(psnr(result.mean, clean.data)) for result in (before, after)]
    note = (
        f"Low-rank adapters trained for {SHORT.steps} steps in {seconds:.0f} s on three tiles of a "
        f"picture; on this other part of it: {gains[0]:.2f} dB before, {gains[1]:.2f} dB after."
    )
    section = Section.from_result(
        after, reference=clean, title="Fine-tuned on stained tissue, then denoised (25/255)",
        baselines={"before fine-tuning": before.mean},
    )  # fmt: skip
    return replace(section, notes=(note, *section.notes))


def restored(
    prior: Prior, task: Task, measured: Signal, title: str, seed: int, show: bool
) -> Result:
    with bar(title, show=show) as advance:
        result: Result = reconstruct(
            prior, task, measured, n=4, seed=seed, callback=lambda share, _: advance(share)
        )
    return result


def crop(photograph: str, corner: tuple[int, int], side: int) -> Signal:
    """A square of a photograph from scikit-image, as an 8-bit PNG would hold it."""
    from skimage import data

    top, left = corner
    pixels = np.asarray(getattr(data, photograph)())[top : top + side, left : left + side, :3]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return Signal(torch.from_numpy(planes) / 255, HEADER)
