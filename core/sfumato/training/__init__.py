"""Training: a generator of steps, and the driver that fine-tunes a prior with it.

Names are imported on first use, since a command line reads ``configs`` without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato.training.configs import LoRA, TrainConfig
    from sfumato.training.driver import finetune
    from sfumato.training.ema import EMA
    from sfumato.training.feeds import Data
    from sfumato.training.loops import Step, loop
    from sfumato.training.losses import denoising_loss
    from sfumato.training.token_losses import token_loss

__all__ = [
    "EMA",
    "Data",
    "LoRA",
    "Step",
    "TrainConfig",
    "denoising_loss",
    "finetune",
    "loop",
    "token_loss",
]

HOMES = {
    "EMA": "ema",
    "Data": "feeds",
    "LoRA": "configs",
    "Step": "loops",
    "TrainConfig": "configs",
    "denoising_loss": "losses",
    "finetune": "driver",
    "loop": "loops",
    "token_loss": "token_losses",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'sfumato.training' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"sfumato.training.{HOMES[name]}"), name)
    globals()[name] = value
    return value
