"""Settings are checked when they are made, and cost no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.training.configs import LoRA, TrainConfig

BAD: list[tuple[str, Any]] = [
    ("steps", 0), ("steps", 1.5), ("batch", 0), ("batch", True), ("accumulation", 0),
    ("lr", 0.0), ("lr", float("nan")), ("warmup", -1), ("decay", 0.0), ("decay", 1.1),
    ("betas", (0.9, 1.0)), ("clip", -1.0), ("ema", 1.0), ("ema_final", -0.1),
    ("weight_decay", float("inf")), ("gamma", 0.0), ("times_std", 0.0),
    ("times_mean", float("nan")), ("label_dropout", 1.5), ("workers", -1),
    ("validation_every", -1), ("checkpoint_minutes", 0.0), ("log_every", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_number_out_of_range_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"{name}="):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("schedule", "cosin", "cosine"),
        ("mixed_precision", "bf61", "bf16"),
        ("weight", "min_snr", "min-snr"),
        ("times", "lognormal", "log-normal"),
    ],
)
def test_a_misspelt_name_is_told_the_right_one(name: str, value: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("rank", 0), ("alpha", 0.0), ("dropout", 1.0)])
def test_bad_adapters_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidOptionError, match=f"lora: {name}="):
        LoRA(**{name: value})  # type: ignore[arg-type]


def test_settings_load_no_torch() -> None:
    code = "import sys, sfumato.training.configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_are_json_values() -> None:
    plain = TrainConfig(lora=LoRA(rank=2, targets=("a",))).as_dict()
    assert plain["lora"] == {"rank": 2, "alpha": 16.0, "dropout": 0.0, "targets": ["a"]}
    assert plain["betas"] == [0.9, 0.99]
