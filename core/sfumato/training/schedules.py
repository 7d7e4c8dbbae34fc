"""Learning rates and averaging constants as functions of the step.

With k the step from 0, K the number of steps and w the warm-up, the rate is the peak times the
smallest of the factors

    warm-up   (k + 1)/w
    cosine    0.01 + 0.99 · ½ (1 + cos π (k − w)/(K − w))        (Loshchilov & Hutter, 2017)
    wsd       max((K − k)/(d K), 0.01)                            (Hu et al., 2024)

with d the share of steps that decay. Nothing is kept between steps, so a run that resumes goes on
where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sfumato.training.configs import TrainConfig

__all__ = ["SCHEDULES", "ema_decay", "learning_rate"]

FLOOR = 0.01
"""What is left of the rate at the end."""


def constant(config: TrainConfig, step: int) -> float:
    return 1.0


def cosine(config: TrainConfig, step: int) -> float:
    part = max(step - config.warmup, 0) / max(config.steps - config.warmup, 1)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(part, 1.0))) / 2


def wsd(config: TrainConfig, step: int) -> float:
    return max((config.steps - step) / (config.decay * config.steps), FLOOR)


SCHEDULES: dict[str, Callable[[TrainConfig, int], float]] = {
    "constant": constant,
    "cosine": cosine,
    "wsd": wsd,
}


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step ``step`` (from 0)."""
    warm = (step + 1) / config.warmup if config.warmup else 1.0
    return config.lr * min(1.0, warm, SCHEDULES[config.schedule](config, step))


def ema_decay(config: TrainConfig, step: int) -> float:
    """The averaging constant of step ``step``: (1 + k)/(10 + k) until ``ema`` is reached.

    An average over a fixed number of steps would hold on to the initial weights at first.
    """
    settled = config.ema_final is not None and learning_rate(config, step) < 0.9 * config.lr
    largest = config.ema_final if settled and config.ema_final is not None else config.ema
    return min(largest, (1 + step) / (10 + step))
