"""What a batch costs: the one place where training meets the kind of a denoiser.

The loop, validation, resuming, averaging and adapters are the same for signals and for tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned, TokenNetwork, valid_places
from sfumato.denoisers.base import unwrapped
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams, derive
from sfumato.training.configs import TrainConfig
from sfumato.training.couplings import PARTNER, optimal
from sfumato.training.feeds import Batch
from sfumato.training.losses import Losses, denoising_loss, hide_labels, weight
from sfumato.training.times import Times, times
from sfumato.training.token_losses import token_loss
from sfumato.training.uneven import uneven_level, uneven_share, uneven_weight

__all__ = ["Trainable", "batch_losses"]

Trainable = Preconditioned | TokenNetwork


def batch_losses(
    denoiser: Trainable,
    codec: Affine,
    batch: Batch,
    config: TrainConfig,
    *,
    u: Tensor,
    distribution: Times | None = None,
) -> Losses:
    """The losses of a batch, with the noise that belongs to its samples.

    Args:
        denoiser: With the network to evaluate.
        codec: Physical to model units; tokens have none.
        batch: Samples.
        config: Settings.
        u: Where in the distribution of times the samples are, in (0, 1).
        distribution: Of the times of signals; what ``config`` names if not given.
    """
    if isinstance(denoiser, TokenNetwork):
        return token_losses(denoiser, batch, config, u)
    return signal_losses(denoiser, codec, batch, config, u, distribution or times(config))


def signal_losses(
    denoiser: Preconditioned,
    codec: Affine,
    batch: Batch,
    config: TrainConfig,
    u: Tensor,
    distribution: Times,
) -> Losses:
    device = denoiser.device
    x_0 = codec.encode(batch.x.to(device=device, dtype=denoiser.dtype, non_blocking=True))
    x_0 = denoiser.process.analyse(x_0)
    level = denoiser.process.level(distribution.quantile(denoiser.process, u))
    w = weight(config.weight, denoiser, level, gamma=config.gamma, times=distribution)
    paired = PARTNER in batch.condition  # whose elements are of other data, and not noise
    share = 0.0 if paired and config.uneven is None else uneven_share(denoiser, config)
    if share:
        level = uneven_level(
            denoiser.process, level, batch.numbers, config, x_0.shape[2:], share=share
        )
        w = uneven_weight(config.weight, denoiser, level, config.gamma)
    classes = getattr(unwrapped(denoiser.network), "classes", 0)
    check_labels(batch, classes)
    condition = {key: value.to(device, non_blocking=True) for key, value in batch.condition.items()}
    if "label" in condition and classes:
        draws = Streams(derive(config.seed, "labels"), batch.numbers).uniform(u)
        condition["label"] = hide_labels(
            condition["label"], draws, probability=config.label_dropout, nothing=classes
        )
    noise = denoiser.process.noise(x_0, Streams(derive(config.seed, "noise"), batch.numbers))
    if PARTNER in condition:
        other = codec.encode(condition.pop(PARTNER).to(x_0.dtype))
        noise = denoiser.process.analyse(other)
    if config.coupling == "optimal":
        noise = optimal(x_0, noise)
    return denoising_loss(
        denoiser, x_0, level=level, noise=noise, w=w,
        uncertainty=config.weight == "uncertainty", condition=condition,
    )  # fmt: skip


def check_labels(batch: Batch, classes: int) -> None:
    """Checks labels before they reach the device, where a wrong one ends the process."""
    label = batch.condition.get("label")
    if classes and label is not None and not bool(((label >= 0) & (label < classes)).all()):
        raise InvalidOptionError(
            "training data", f"labels from {int(label.min())} to {int(label.max())}",
            f"this prior knows 0 to {classes - 1}",
        )  # fmt: skip


def token_losses(denoiser: TokenNetwork, batch: Batch, config: TrainConfig, u: Tensor) -> Losses:
    """Nats per place that can be noisy. Tokens that are never data are shown, and not learnt."""
    check_tokens(batch, denoiser.process.tokens)
    x_0 = batch.x.to(denoiser.device, non_blocking=True)
    condition = {key: value.to(x_0.device) for key, value in batch.condition.items()}
    places = valid_places(x_0, condition)
    for token in denoiser.suppressed:
        places = places & (x_0 != token)
    streams = Streams(derive(config.seed, "noise"), batch.numbers)
    nats = token_loss(
        denoiser, x_0, denoiser.process.level(u), streams, condition,
        kind=config.token_loss or None, places=places,
    )  # fmt: skip
    many = places.flatten(1).sum(dim=1).clamp(min=1)
    error = (nats / many).to(torch.float32)
    return Losses(error, torch.zeros_like(error))


def check_tokens(batch: Batch, tokens: int) -> None:
    """Checks tokens before they reach the device, where a wrong one ends the process."""
    if batch.x.is_floating_point():
        raise InvalidOptionError("training data", f"items of {batch.x.dtype}", "use whole numbers")
    inside = batch.x[valid_places(batch.x, batch.condition)]
    if inside.numel() and not 0 <= int(inside.min()) <= int(inside.max()) < tokens:
        raise InvalidOptionError(
            "training data", f"tokens from {int(inside.min())} to {int(inside.max())}",
            f"this prior knows 0 to {tokens - 1}",
        )  # fmt: skip
