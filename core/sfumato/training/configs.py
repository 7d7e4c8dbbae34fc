"""Settings of a training run, as data. Imports no torch, so that a command line can list them.

Everything is checked when the object is made, before a file is read or a network is built.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sfumato.errors import InvalidOptionError, UnknownNameError

__all__ = [
    "CouplingName",
    "LoRA",
    "MixedPrecision",
    "Schedule",
    "TimesName",
    "TokenLossName",
    "TrainConfig",
    "WeightName",
]

Schedule = Literal["cosine", "constant", "wsd"]
MixedPrecision = Literal["auto", "no", "bf16", "fp16"]
WeightName = Literal["edm", "min-snr", "uniform", "soft", "likelihood", "uncertainty"]
TimesName = Literal["log-normal", "log-uniform", "uniform", "loss-aware"]
CouplingName = Literal["drawn", "optimal"]
TokenLossName = Literal[
    "",
    "k-uniform",
    "masked",
    "score-entropy",
    "variational",
    "cross-entropy",
    "hybrid",
    "infilling",
]


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adapters W + (alpha/rank) B A in place of training W (Hu et al., 2022).

    Args:
        rank: Rank of the update, 1 or more.
        alpha: Its scale; the update is multiplied by alpha/rank.
        dropout: Probability of dropping an input of A, in [0, 1).
        targets: Patterns of layer names, such as ``"decoders.*"``; empty for every convolution
            and linear layer.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        demand("lora", self, "rank", self.rank >= 1, "use 1 or more")
        demand("lora", self, "alpha", finite(self.alpha) and self.alpha > 0, "use a number above 0")
        demand("lora", self, "dropout", 0 <= self.dropout < 1, "use a number in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    Args:
        steps: Optimiser steps of the whole run.
        batch: Items per process and forward pass; one step sees
            batch × processes × accumulation items.
        lr: Peak learning rate of AdamW.
        muon: Peak learning rate of Muon, which then trains the matrices inside the network; see
            ``sfumato.training.optimizers``. 0 trains everything with AdamW.
        schedule: ``cosine`` to 1 % of the peak, ``constant``, or ``wsd``: warm-up, stable, decay.
        warmup: Steps of linear warm-up.
        decay: Share of the steps, at the end, in which ``wsd`` falls linearly to 1 %.
        betas: Averaging constants of AdamW.
        weight_decay: Of AdamW and of Muon, each times its own rate.
        clip: Largest norm of the gradient; 0 does not clip.
        accumulation: Forward passes per step.
        ema: Decay of the weights' moving average, in [0, 1); 0 keeps the last weights.
        ema_final: Decay while the learning rate is below 90 % of its peak, where the weights
            themselves settle; ``ema`` if not given.
        mixed_precision: ``auto`` is bf16 on GPUs that have it, fp16 on older ones, else none.
        weight: Weight of the loss over noise levels; see ``sfumato.training.losses``.
        gamma: Cap of the signal-to-noise ratio in ``min-snr``.
        times: Distribution of the noise levels; ``loss-aware`` learns it as it goes, see
            ``sfumato.training.histories``, and goes with the weight ``likelihood``.
        times_mean: Mean of ln σ/α in ``log-normal``.
        times_std: Its standard deviation.
        uneven: Share of the items whose elements are at levels of their own, for networks with a
            noise map; see ``sfumato.training.uneven``. If not given, half of them for such
            networks, so that training on keeps what they know of filling in, and none for others.
        coupling: ``drawn`` pairs data with noise, or with the other data set of ``Pairs``, as they
            come; ``optimal`` at the least cost within a forward pass, which makes flows straighter.
        low_discrepancy: Whether the times of a batch are spread evenly (Kingma et al., 2021).
        variance_weight: Weight of the likelihood that trains a network's variance head.
        label_dropout: Probability of hiding a label, for classifier-free guidance; only for
            networks with a "no label" class.
        token_loss: Loss of networks of tokens, in place of ``weight`` and ``times``; empty for what
            suits the process. See ``sfumato.training.token_losses``.
        lora: Adapters to train in place of all weights.
        seed: Of every random draw.
        validation_every: Steps between validations; 0 for none but the last.
        validation_items: Items that a validation looks at.
        samples: Pictures of a sample grid, where the caller draws one; 0 for none.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_minutes: Minutes between checkpoints.
        workers: Processes that read data; 0 reads in the training process.
        compile: Whether to compile the network with ``torch.compile``.

    Raises:
        InvalidOptionError: If a number is out of range.
        UnknownNameError: If a name is none of those listed.
    """

    steps: int = 2000
    batch: int = 16
    lr: float = 1e-4
    muon: float = 0.0
    schedule: Schedule = "cosine"
    warmup: int = 100
    decay: float = 0.3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    accumulation: int = 1
    ema: float = 0.999
    ema_final: float | None = None
    mixed_precision: MixedPrecision = "auto"
    weight: WeightName = "edm"
    gamma: float = 5.0
    times: TimesName = "log-normal"
    times_mean: float = -1.2
    times_std: float = 1.2
    uneven: float | None = None
    coupling: CouplingName = "drawn"
    low_discrepancy: bool = False
    variance_weight: float = 0.05
    label_dropout: float = 0.1
    token_loss: TokenLossName = ""
    lora: LoRA | None = None
    seed: int = 0
    validation_every: int = 500
    validation_items: int = 64
    samples: int = 8
    log_every: int = 10
    checkpoint_minutes: float = 5.0
    workers: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        for name in ("steps", "batch", "accumulation", "validation_items", "log_every"):
            demand("training", self, name, is_count(getattr(self, name), 1), "use 1 or more")
        for name in ("warmup", "validation_every", "samples", "workers"):
            demand("training", self, name, is_count(getattr(self, name), 0), "use 0 or more")
        for name in ("lr", "gamma", "times_std", "checkpoint_minutes"):
            value = getattr(self, name)
            demand("training", self, name, finite(value) and value > 0, "use a number above 0")
        for name in ("muon", "weight_decay", "clip", "variance_weight"):
            value = getattr(self, name)
            demand("training", self, name, finite(value) and value >= 0, "use 0 or more")
        demand("training", self, "times_mean", finite(self.times_mean), "use a finite number")
        for name in ("ema", "ema_final"):
            value = getattr(self, name)
            demand("training", self, name, value is None or 0 <= value < 1, "use [0, 1)")
        demand("training", self, "decay", 0 < self.decay <= 1, "use a share in (0, 1]")
        demand("training", self, "uneven", 0 <= (self.uneven or 0) <= 1, "use [0, 1]")
        density = not (self.uneven and self.weight == "likelihood")
        demand("training", self, "uneven", density, "uneven levels have no density; weigh by edm")
        aware = self.times != "loss-aware" or self.weight == "likelihood"
        demand("training", self, "times", aware, "set weight='likelihood', which divides by p(t)")
        demand("training", self, "label_dropout", 0 <= self.label_dropout <= 1, "use [0, 1]")
        both = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        demand("training", self, "betas", both, "use two numbers in [0, 1)")
        choose("schedule", self.schedule, get_args(Schedule))
        choose("mixed precision", self.mixed_precision, get_args(MixedPrecision))
        choose("weight", self.weight, get_args(WeightName))
        choose("times", self.times, get_args(TimesName))
        choose("coupling", self.coupling, get_args(CouplingName))
        choose("token loss", self.token_loss, get_args(TokenLossName))
        adapters = self.muon > 0 and self.lora is not None
        demand("training", self, "muon", not adapters, "train adapters with AdamW (muon=0)")

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        plain = asdict(self)
        plain["betas"] = list(self.betas)
        if self.lora is not None:
            plain["lora"]["targets"] = list(self.lora.targets)
        return plain


def demand(where: str, owner: object, name: str, holds: bool, fix: str) -> None:
    if not holds:
        raise InvalidOptionError(where, f"{name}={getattr(owner, name)}", fix)


def choose(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnknownNameError(kind, value, known)


def is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def finite(value: float) -> bool:
    return math.isfinite(value)
