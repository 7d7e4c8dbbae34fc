"""The contract of a denoiser of tokens: (x_t, level, condition) ↦ ln p(x₀,i | x_t) for every place.

What comes back is the *calibrated posterior marginal* of each clean token, normalised over the K
clean tokens, whatever the process. Losses, samplers and solvers convert from that: to the reverse
step (``Categorical.reverse``), to ratios, to the leave-one-out belief. MASK and padding are no
clean tokens and so cannot be emitted.

Padding: ``condition["valid"]`` (bool, ``[batch, *x]``) says which places exist. A denoiser must
give the same answer for the valid places of an item whatever the others hold and however far the
batch is padded. What it returns at places that do not exist means nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["Beliefs", "Informed", "TokenDenoiser", "hides", "valid_places", "visible"]


@dataclass(frozen=True)
class Beliefs:
    """What is believed about the clean tokens given x_t.

    Args:
        log_probs: ln p(x₀,i = v | x_t), ``[batch, *x, tokens]``, normalised over the last axis.
    """

    log_probs: Float[Tensor, "batch *x tokens"]

    @property
    def probs(self) -> Float[Tensor, "batch *x tokens"]:
        """p(x₀,i = v | x_t)."""
        return self.log_probs.exp()

    @property
    def entropy(self) -> Float[Tensor, "batch *x"]:
        """Entropy of each place in nats."""
        entropy: Tensor = torch.special.entr(self.probs).sum(dim=-1)
        return entropy


class TokenDenoiser(ABC):
    """Estimates clean tokens from a noisy state of its process.

    Attributes:
        process: Whose states it takes.
        takes_time: Whether the answer depends on the level beyond what x_t shows. For absorbing
            processes it need not, and then calls on an unchanged state can be saved.
    """

    process: Categorical
    takes_time: bool = True

    @abstractmethod
    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        """Returns ln p(x₀,i | x_t).

        Args:
            x_t: State at level ``t``.
            t: The level; its numbers are 0-dimensional, or have one entry per item.
            condition: ``"valid"``: places that exist; and what the network is told besides.
        """


@dataclass(frozen=True, eq=False)
class Informed(TokenDenoiser):
    """A denoiser's beliefs, made to agree with what is visible.

    In an absorbing process a token that is not MASK is the clean token (SUBS; Sahoo et al., 2024).
    Wrapping costs nothing and makes any network a denoiser that the laws of the process hold for.
    """

    inner: TokenDenoiser

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.inner.process

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.inner.takes_time

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        beliefs = self.inner(x_t, t, condition)
        return Beliefs(visible(beliefs.log_probs, x_t, self.process))


def visible(
    log_probs: Float[Tensor, "batch *x tokens"], x_t: Int[Tensor, "batch *x"], process: Categorical
) -> Float[Tensor, "batch *x tokens"]:
    """Replaces the belief at places that cannot have changed by certainty.

    These are the places whose state has chance 0 under the noise: all but MASK where π is all on
    MASK. Other processes leave the belief as it is.
    """
    if not hides(process):
        return log_probs
    seen = x_t < process.tokens
    certain = torch.full_like(log_probs, -torch.inf)
    certain.scatter_(-1, x_t.clamp(max=process.tokens - 1).unsqueeze(-1), 0.0)
    return torch.where(seen.unsqueeze(-1), certain, log_probs)


def hides(process: Categorical) -> bool:
    """Whether noise does nothing but hide: π is all on MASK."""
    frequencies = getattr(process, "frequencies", None)
    return process.mask is not None and frequencies is not None and frequencies[-1] == 1


def valid_places(x: Int[Tensor, "batch *x"], condition: Condition) -> Bool[Tensor, "batch *x"]:
    """Which places exist; all if the condition does not say."""
    valid = (condition or {}).get("valid")
    if valid is None:
        return torch.ones_like(x, dtype=torch.bool)
    return torch.as_tensor(valid, dtype=torch.bool, device=x.device)
