"""A network as a denoiser of tokens.

The network is asked for logits of the clean token at every place, from the noisy state, from which
places exist and, if it wants to know, from the time. Here they become beliefs: cut to the K tokens
of the process, without those that are never data (MASK, padding, marks of begin and end), and in
an absorbing process certain where the token is visible (SUBS; Sahoo et al., 2024).

Some networks never let a place see its own state. Their logits are the leave-one-out belief
ln p(x₀,i | x_t without place i), and Bayes' rule adds what the place itself shows:

    p(x₀,i | x_t) ∝ q(x_t,i | x₀,i) p(x₀,i | x_t without place i).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sfumato.denoisers.base import Condition, unwrapped
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser, hides, valid_places, visible
from sfumato.errors import InvalidOptionError, ShapeError, UnknownNameError, UnsupportedError
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["CLOCKS", "TokenNetwork"]

CLOCKS: dict[str, Callable[[TokenLevel], Tensor]] = {
    "time": lambda level: level.t,
    "noise": lambda level: -level.alpha.clamp(min=1e-5).log(),
}
"""What a network is told about the level: t, or the total noise σ = −ln α (MDLM, SEDD)."""


@dataclass(frozen=True, eq=False)
class TokenNetwork(TokenDenoiser):
    """A network as a denoiser of tokens.

    Args:
        network: ``(ids, valid) -> logits`` or, with a clock, ``(ids, valid, clock) -> logits``;
            ids int64 ``[batch, *x]``, valid bool alike, clock ``[batch]``. Logits, or an object
            with them as ``logits``, are ``[batch, *x, n]`` with n ≥ K. What it answers for the
            places that exist must not depend on how many others there are. With the attribute
            ``blind`` set, place i must not depend on ``ids[i]`` either.
        process: The process it was trained under.
        clock: ``""`` if it is not told the level, or a row of ``CLOCKS``.
        right_shift: Whether output i − 1 is about place i, as in networks that once predicted the
            next token. Place 0 is then answered by output 0. Only for states with one axis.
        mask_id: The number that MASK has in the network's vocabulary; K if not given.
        suppressed: Tokens that are never data, and so are believed with probability 0.

    Raises:
        UnknownNameError: If there is no such clock.
        InvalidOptionError: If every token is suppressed.
    """

    network: nn.Module | Callable[..., Any]
    process: Categorical
    clock: str = ""
    right_shift: bool = False
    mask_id: int | None = None
    suppressed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.clock and self.clock not in CLOCKS:
            raise UnknownNameError("clock", self.clock, CLOCKS)
        inside = sorted({int(v) for v in self.suppressed if 0 <= v < self.process.tokens})
        object.__setattr__(self, "suppressed", tuple(inside))
        if len(inside) >= self.process.tokens:
            raise InvalidOptionError("denoiser", "every token is suppressed", "leave some")

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return bool(self.clock) or (self.blind and not hides(self.process))

    @property
    def blind(self) -> bool:
        """Whether no place sees its own state."""
        return bool(getattr(unwrapped(self.network), "blind", False))

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of the network's parameters; ``None`` for a function without any."""
        first = self.first_parameter
        return None if first is None else first.dtype

    @property
    def device(self) -> torch.device | None:
        """Device of the network's parameters; ``None`` for a function without any."""
        first = self.first_parameter
        return None if first is None else first.device

    @property
    def first_parameter(self) -> Tensor | None:
        if not isinstance(self.network, nn.Module):
            return None
        return next(self.network.parameters(), None)

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        found = self.guesses(x_t, t, condition)
        if self.blind and not hides(self.process):
            own = self.process.log_likelihood(x_t, t).to(found)
            found = (found + own).log_softmax(dim=-1)
        return Beliefs(visible(found, x_t, self.process))

    def guesses(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Float[Tensor, "batch *x tokens"]:
        """What the network itself says, normalised, also where the token is visible.

        For a blind network this is the leave-one-out belief. Float32, or float64 where the network
        is; on the device of ``x_t``.
        """
        logits = self.evaluate(x_t, valid_places(x_t, condition), t).to(x_t.device)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        K = self.process.tokens
        if logits.shape[:-1] != x_t.shape or logits.shape[-1] < K:
            size = "×".join(map(str, x_t.shape))
            raise ShapeError("the network's output", logits.shape, f"{size}×({K} or more)")
        logits = logits[..., :K]
        if self.suppressed:
            logits = logits.index_fill(-1, index(self.suppressed, logits.device), -torch.inf)
        return logits.log_softmax(dim=-1)

    def evaluate(
        self, x_t: Int[Tensor, "batch *x"], valid: Bool[Tensor, "batch *x"], t: TokenLevel
    ) -> Tensor:
        """The network's logits, in its own numbering of MASK and on its own device."""
        if self.right_shift and x_t.ndim != 2:
            raise UnsupportedError("right_shift", "a state with one axis", f"it has {x_t.ndim - 1}")
        K, mask = self.process.tokens, self.mask_id
        ids = x_t.masked_fill(~valid, self.process.states - 1)
        if mask is not None and mask != K:
            ids = torch.where(ids == K, mask, ids)
        told: list[Tensor] = [ids, valid]
        if self.clock:
            told.append(CLOCKS[self.clock](t).float().expand(len(x_t)))
        output = self.network(*(value.to(self.device or x_t.device) for value in told))
        logits: Tensor = getattr(output, "logits", output)
        if self.right_shift:
            logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
        return logits


def index(places: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(places, dtype=torch.long, device=device)
