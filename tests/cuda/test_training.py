"""Training on a device: it learns the same, in every precision, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from devices import agree, tiny_prior

from sfumato.errors import InvalidOptionError
from sfumato.training import LoRA, TrainConfig, finetune
from sfumato.training.loops import Step, accelerate, loop

pytestmark = pytest.mark.gpu
CONFIG = TrainConfig(
    steps=20, batch=4, lr=1e-3, warmup=2, validation_every=10, validation_items=4, samples=0,
    log_every=5, ema=0.5, mixed_precision="no",
)  # fmt: skip


@dataclass(frozen=True)
class Shades:
    """Pictures of one of three brightnesses."""

    count: int = 12
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> Mapping[str, Any]:
        kind = (self.first + index) % 3
        return {"x": (kind + torch.rand((3, 8, 8), generator=generator)) / 3, "label": kind}

    def validation(self) -> Shades | None:
        return None if self.first else Shades(4, 100)


class StoppedError(Exception):
    """Stands for Ctrl-C."""


def losses(where: str, config: TrainConfig) -> list[float]:
    prior = tiny_prior()
    denoiser = prior.learner(prior.network.requires_grad_())
    with_device = accelerate(where)
    steps = loop(denoiser, Shades(), config, codec=prior.codec, accelerator=with_device)
    return [step.loss for step in steps]


@pytest.mark.parametrize("muon", [0.0, 0.01])
def test_losses_agree(device: str, muon: float) -> None:
    config = replace(CONFIG, steps=5, muon=muon)
    agree(
        torch.tensor(losses(device, config)), torch.tensor(losses("cpu", config)), 2e-3
    )  # fmt: skip


def test_losses_agree_with_a_history_of_losses(device: str) -> None:
    config = replace(CONFIG, steps=5, times="loss-aware", weight="likelihood")
    agree(torch.tensor(losses(device, config)), torch.tensor(losses("cpu", config)), 5e-3)


@pytest.mark.parametrize("precision", ["auto", "no", "bf16", "fp16"])
@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["full", "lora"])
def test_a_prior_is_tuned_on_a_device(
    cuda: str, precision: str, lora: LoRA | None, tmp_path: Path
) -> None:
    config = replace(CONFIG, mixed_precision=precision, lora=lora)
    seen: list[float] = []
    prior = tiny_prior()
    tuned = finetune(
        prior, Shades(), out=tmp_path / "out", config=config, device=cuda, tracker="",
        callback=lambda step: seen.append(step.loss),
    )  # fmt: skip
    assert tuned.device.type == "cpu"
    assert torch.tensor(seen).isfinite().all()
    assert tuned.hash() != prior.hash()
    expected = losses("cpu", replace(config, lora=None, mixed_precision="no"))
    if lora is None:  # rounding of half precision, along 20 steps
        mean = sum(seen) / len(seen)
        assert mean == pytest.approx(sum(expected) / len(expected), rel=0.1)


@pytest.mark.parametrize("lora", [None, LoRA(rank=2, dropout=0.1)], ids=["full", "lora"])
def test_a_resumed_run_equals_the_uninterrupted_one(
    cuda: str, lora: LoRA | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    config = replace(CONFIG, steps=8, lora=lora, checkpoint_minutes=1e-9)
    given = {"config": config, "device": cuda, "tracker": ""}
    whole = finetune(tiny_prior(), Shades(), out=tmp_path / "whole", **given)

    def stop(step: Step) -> None:
        if step.index == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        finetune(tiny_prior(), Shades(), out=tmp_path / "parts", callback=stop, **given)
    again = finetune(tiny_prior(), Shades(), out=tmp_path / "parts", resume=True, **given)
    for name, value in whole.network.state_dict().items():
        agree(again.network.state_dict()[name], value)


def test_a_prior_on_a_device_stays_there(cuda: str, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=2)
    prior = tiny_prior().to(cuda)
    tuned = finetune(prior, Shades(), out=tmp_path / "out", config=config, tracker="")
    assert tuned.device == prior.device


def test_compiled_training_agrees(cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # what checks shapes while tests run is not what is compiled
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    config = replace(CONFIG, steps=3)
    found = losses(cuda, replace(config, compile=True))
    agree(torch.tensor(found), torch.tensor(losses("cpu", config)), 5e-3)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="'cuda:97' cannot be used"):
        finetune(tiny_prior(), Shades(), out=tmp_path / "out", config=CONFIG, device="cuda:97")
    assert not (tmp_path / "out").exists()
