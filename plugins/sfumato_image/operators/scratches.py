"""Damage to practise on: a few crooked scratches, the same for the same seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["scratches"]

COUNT = 4
SEGMENTS = 6


def scratches(height: int, width: int, seed: int) -> Tensor:
    """``[height, width]``, True on the scratches; of two or more pixels some are and some not."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng([seed, height, width])
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    side = min(height, width)
    for _ in range(COUNT):
        start = random.uniform(0, [width, height])
        angle = random.uniform(0, 2 * np.pi) + 0.5 * random.standard_normal(SEGMENTS).cumsum()
        steps = np.stack([np.cos(angle), np.sin(angle)], axis=1) * max(height, width) / 8
        points = np.concatenate([start[None], start + steps.cumsum(axis=0)])
        thickness = max(1, round(side * random.uniform(0.008, 0.02)))
        draw.line([(float(x), float(y)) for x, y in points], fill=1, width=thickness, joint="curve")
    damaged = torch.from_numpy(np.array(image))
    damaged[0, 0] = False
    damaged[-1, -1] = damaged[-1, -1] | ~damaged.any()
    return damaged
