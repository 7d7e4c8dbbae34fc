"""The laws of a denoiser of tokens.

Σ_v p(x₀,i = v | x_t) = 1, over clean tokens only
an item alone = the item in its batch
places that exist = the same, whatever the others hold and however many they are
a token that is visible is believed, where nothing but MASK can have replaced it
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato import draws
from sfumato.denoisers import TokenDenoiser
from sfumato.noise import Streams
from sfumato.processes import TokenLevel
from sfumato.testing.comparisons import require

__all__ = ["check_token_denoiser"]

BATCH = 3


def check_token_denoiser(
    denoiser: TokenDenoiser, shape: Sequence[int], *, tolerance: float = 1e-4
) -> None:
    """Checks every law above at a low, a middle and the highest noise level.

    Args:
        denoiser: What to check.
        shape: A shape of one state that it takes; padding is tried along the last axis, which must
            be 2 or longer.
        tolerance: In nats, for networks in float32.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    process = denoiser.process
    anything = draws.uniform(torch.empty(BATCH, *shape), Streams.count(0, BATCH))
    x = (anything * process.tokens).long()
    for time in (0.2, 0.6, 1.0):
        t = process.level(torch.full((BATCH,), time, dtype=torch.float64))
        x_t = process.corrupt(x, t, Streams.count(1, BATCH))
        with torch.no_grad():
            log_probs = denoiser(x_t, t, everywhere(x_t)).log_probs
            check_normalised(denoiser, log_probs, x_t, tolerance)
            check_batch(denoiser, log_probs, x_t, time, tolerance)
            check_padding(denoiser, x_t, t, tolerance)
            check_visible(denoiser, log_probs, x_t, tolerance)


def everywhere(x: Tensor) -> dict[str, Tensor]:
    return {"valid": torch.ones_like(x, dtype=torch.bool)}


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tables of logarithms; −∞ equals −∞."""
    return float((a.double().clamp(min=-60) - b.double().clamp(min=-60)).abs().max())


def check_normalised(
    denoiser: TokenDenoiser, log_probs: Tensor, x_t: Tensor, tolerance: float
) -> None:
    K = denoiser.process.tokens
    law = "one belief for every clean token of every place"
    require(log_probs.shape == (*x_t.shape, K), denoiser, law, f"{tuple(log_probs.shape)}")
    gap = float(torch.logsumexp(log_probs.double(), dim=-1).abs().max())
    law = "beliefs sum to 1 over the clean tokens"
    require(gap <= tolerance, denoiser, law, f"ln of the sum is {gap:.2g}")


def check_batch(
    denoiser: TokenDenoiser, log_probs: Tensor, x_t: Tensor, time: float, tolerance: float
) -> None:
    alone = denoiser(x_t[1:2], denoiser.process.level(time), everywhere(x_t[1:2])).log_probs
    gap = difference(alone, log_probs[1:2])
    law = "an item's belief does not depend on its batch"
    require(gap <= tolerance, denoiser, law, f"off by {gap:.2g} nats")


def check_padding(denoiser: TokenDenoiser, x_t: Tensor, t: TokenLevel, tolerance: float) -> None:
    length = x_t.shape[-1]
    short = x_t[..., : length - length // 2]
    plain = denoiser(short, t, everywhere(short)).log_probs
    exist = (torch.arange(length, device=x_t.device) < short.shape[-1]).expand(x_t.shape)
    for junk in (0, denoiser.process.states - 1):
        padded = denoiser(x_t.where(exist, junk), t, {"valid": exist}).log_probs
        gap = difference(padded[..., : short.shape[-1], :], plain)
        law = "a belief does not depend on padding"
        require(gap <= tolerance, denoiser, law, f"off by {gap:.2g} nats with token {junk} there")


def check_visible(
    denoiser: TokenDenoiser, log_probs: Tensor, x_t: Tensor, tolerance: float
) -> None:
    process = denoiser.process
    frequencies = getattr(process, "frequencies", (0.0,))
    if process.mask is None or frequencies[-1] != 1:
        return
    index = x_t.clamp(max=process.tokens - 1).unsqueeze(-1)
    own = log_probs.gather(-1, index).squeeze(-1)[x_t < process.tokens]
    gap = float(-own.min()) if own.numel() else 0.0
    law = "a visible token is believed (wrap the denoiser in Informed)"
    require(gap <= tolerance, denoiser, law, f"−ln p of one is {gap:.2g}")
