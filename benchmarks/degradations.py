"""What is done to the photographs of ``restoration.py``: y = A x + σ n in [0, 1] units.

Measurements are floating-point numbers, neither rounded nor clipped, but for JPEG files, which are
files. Masks and noise depend on the
picture's name only, so every method sees the same y, whatever subset is run.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from photographs import Photograph
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.operators import Linear
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_image.operators import DeJPEG

__all__ = ["STANDARD", "TASKS", "Case", "Task"]

Kind = Literal["super-resolve", "deblur", "inpaint", "denoise", "dejpeg"]


@dataclass(frozen=True)
class Task:
    """A kind of damage.

    Args:
        label: For tables.
        kind: What undoes it.
        noise: σ in 8-bit units.
        value: Factor, σ of the blur in pixels, share of pixels that is known, or quality of a file.
        kernel: How pixels are merged, for super-resolution.
    """

    label: str
    kind: Kind
    noise: float = 0.0
    value: float = 0.0
    kernel: Literal["bicubic", "box"] = "bicubic"

    def operator(self, shape: tuple[int, int], key: int) -> Linear:
        """A with its noise, for pictures of height × width."""
        likelihood = Gaussian(self.noise / 255)
        if self.kind == "super-resolve":
            return Downsample(int(self.value), shape, self.kernel, likelihood=likelihood)
        if self.kind == "deblur":
            return Convolve(self.blur, shape, likelihood=likelihood)
        if self.kind == "inpaint":
            chance = torch.rand(1, *shape, generator=torch.Generator().manual_seed(key))
            return Mask(chance < self.value, likelihood)
        return Identity(likelihood)

    @property
    def blur(self) -> Tensor:
        """The Gaussian kernel of a blur, cut at four standard deviations."""
        reach = int(4 * self.value + 1)
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / self.value) ** 2)
        return torch.outer(line, line) / line.sum() ** 2

    def case(self, picture: Photograph, truth: Tensor) -> Case:
        """The damaged picture."""
        if self.kind == "dejpeg":
            task = DeJPEG(quality=int(self.value))
            file = task.degrade(Signal(truth))
            bound = task.bind(file)
            assert isinstance(bound.operator, Linear)
            return Case(self, bound.operator, truth, bound.y, decoded=file.data)
        key = zlib.crc32(picture.name.encode())
        operator = self.operator((truth.shape[1], truth.shape[2]), key)
        clean = operator(truth[None])
        noise = Streams(0, [key]).normal(clean)
        return Case(self, operator, truth, operator.restrict(clean + self.noise / 255 * noise))


@dataclass(frozen=True, eq=False)
class Case:
    """One damaged picture.

    Args:
        task: What happened to it.
        operator: A with its noise.
        truth: x, ``[3, height, width]``.
        y: ``[1, *y]``.
        decoded: A JPEG file as it is shown.
    """

    task: Task
    operator: Linear
    truth: Tensor
    y: Tensor
    decoded: Tensor | None = None

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in [0, 1] units."""
        return self.task.noise / 255

    @property
    def known(self) -> Tensor | None:
        """``[1, height, width]``, True where pixels were measured one by one without noise."""
        return self.operator.support if isinstance(self.operator, Mask) else None

    def finish(self, samples: Tensor) -> Tensor:
        """Samples clipped to [0, 1], with what is known exactly put back."""
        samples = samples.cpu().clamp(0, 1)
        return samples if self.known is None else torch.where(self.known, self.truth, samples)


TASKS: dict[str, Task] = {
    "sr2": Task("super-resolution ×2", "super-resolve", value=2),
    "sr4": Task("super-resolution ×4", "super-resolve", value=4),
    "deblur": Task("deblurring, σ 1.6 px, noise 2/255", "deblur", noise=2, value=1.6),
    "inpaint": Task("inpainting, 50 % of the pixels known", "inpaint", value=0.5),
    "denoise": Task("denoising, noise 25/255", "denoise", noise=25),
    "jpeg10": Task("JPEG file, quality 10", "dejpeg", value=10),
    "jpeg30": Task("JPEG file, quality 30", "dejpeg", value=30),
    "jpeg50": Task("JPEG file, quality 50", "dejpeg", value=50),
    "sr2-noise": Task("super-resolution ×2, noise 1/255", "super-resolve", noise=1, value=2),
    "sr4-noise": Task("super-resolution ×4, noise 1/255", "super-resolve", noise=1, value=4),
    "sr2-box": Task("super-resolution ×2, box kernel", "super-resolve", value=2, kernel="box"),
    "sr4-box": Task("super-resolution ×4, box kernel", "super-resolve", value=4, kernel="box"),
}
STANDARD = ("sr2", "sr4", "deblur", "inpaint", "denoise")
"""What is run unless other tasks are named."""
