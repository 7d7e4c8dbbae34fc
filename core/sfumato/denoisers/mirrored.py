"""Each evaluation in another mirror image, for priors whose data know no left and right.

Where mirrored data are as likely as the data, the best estimate turns with its state: for every
mirror image G, D(Gx) = G D(x). A network has learnt that only roughly, and what it gets wrong
differs from image to image. A solver asks it many times and mixes its answers, by draws that follow
one another and in the mean of samples. So the k-th call sees the state in the k-th image, in turn,
and its answer is turned back: that costs no evaluation. (All images at every call would be the
equivariant denoiser of Terris et al., 2024, arXiv 2312.01831; one image per iteration, drawn by
chance, is their cheaper variant.)

With ``photo`` on three photographs that it was not trained on (192² pixels, four samples) this
raised the mean of ``fused-gibbs`` where half of the pixels are missing from 31.35 to 31.80 dB, and
that of ``proximal`` from 29.52 to 29.56 (×2) and from 27.76 to 27.81 dB (blur).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate, knows_covariance, layers
from sfumato.errors import ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level

__all__ = ["Mirrored", "mirrored"]


@dataclass(eq=False)
class Mirrored(Denoiser):
    """A denoiser for one run of a solver, which numbers its calls.

    An item's k-th call depends on k and its phase alone, so it is the same in every batch as long
    as each call is for all items.

    Args:
        denoiser: Whose data are as likely mirrored.
        axes: Along which, counted from the last, such as (-1, -2); batch and channels excluded.
        phases: The image that an item's first call sees, one number per item. Samples of one item
            that start at the same state then make out of one call what several would.
    """

    denoiser: Denoiser
    axes: tuple[int, ...]
    phases: Sequence[int]
    calls: int = field(default=0, init=False)

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    @property
    def knows_covariance(self) -> bool:
        return knows_covariance(self.denoiser)

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        if len(x_t) != len(self.phases):
            raise ShapeError("state", x_t.shape, f"{len(self.phases)} items")
        images = [(self.calls + phase) % 2 ** len(self.axes) for phase in self.phases]
        self.calls += 1

        def turned(value: Tensor) -> Tensor:
            return self.turned(value, images)

        level = t
        if t.uneven:
            level = replace(t, alpha=turned(t.alpha), sigma=turned(t.sigma))
        told = {
            key: turned(value) if isinstance(value, Tensor) and value.ndim == x_t.ndim else value
            for key, value in (condition or {}).items()
        }
        estimate = self.denoiser(turned(x_t), level, told or None)

        def back(value: Tensor | None) -> Tensor | None:
            return None if value is None else turned(value)

        covariance, sampler = estimate.covariance, estimate.sampler

        def product(v: Tensor) -> Tensor:
            assert covariance is not None
            return turned(covariance(turned(v)))

        def draw(streams: Streams) -> Tensor:
            assert sampler is not None
            return turned(sampler(streams))

        return Estimate(
            turned(estimate.mean),
            variance=back(estimate.variance),
            interpolation=back(estimate.interpolation),
            covariance=product if covariance else None,
            sampler=draw if sampler else None,
        )

    def turned(self, value: Tensor, images: Sequence[int]) -> Tensor:
        """Items in their images; the same again turns them back."""
        if value.ndim < 2 + len(self.axes):
            return value
        axes = [[a for i, a in enumerate(self.axes) if image >> i & 1] for image in images]
        if all(own == axes[0] for own in axes):
            return value.flip(axes[0]) if axes[0] else value
        rows = value.expand(len(images), *value.shape[1:])
        return torch.stack(
            [row.flip(own) if own else row for row, own in zip(rows, axes, strict=True)]
        )


def mirrored(denoiser: Denoiser, phases: Sequence[int]) -> Denoiser:
    """``denoiser`` for one run, mirrored along the axes that its network's ``mirrors`` names."""
    for layer in layers(denoiser):
        if axes := getattr(layer, "mirrors", ()):
            return Mirrored(denoiser, tuple(axes), phases)
    return denoiser
