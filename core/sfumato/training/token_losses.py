"""Losses that train a denoiser of tokens: one noise level and one draw of noise per item.

    k-uniform       L/k times the cross entropy of k hidden places, k uniform in 1 … L
                    (absorbing; Nie et al., 2025)
    masked          −α'/(1 − α) times the cross entropy of the hidden places (absorbing; MDLM)
    score-entropy   the bound of any process in continuous time (SEDD)
    variational     T times one step of the discrete bound, which any process has (D3PM)
    cross-entropy   −Σ ln p(x₀,i | x_t) over all places: no bound, but its minimum is the posterior
    hybrid          variational + λ cross-entropy (Austin et al., 2021)
    infilling       cross entropy of gaps, long and short (absorbing; ``training.infilling``)

All are in nats per item, summed over the places that exist. With t uniform in [0, 1] all but
cross-entropy, hybrid and infilling have a mean that bounds −ln p(x₀). Divide by the number of
places to give long and short items the same weight, or leave it to give every token the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser, valid_places
from sfumato.denoisers.token_networks import TokenNetwork
from sfumato.errors import UnknownNameError
from sfumato.likelihood import terms
from sfumato.likelihood.masks import hide, level_of, sizes
from sfumato.noise import Streams
from sfumato.processes import Categorical, Steps, TokenLevel
from sfumato.training.infilling import patterns

__all__ = ["TOKEN_LOSSES", "default_loss", "token_loss"]

STEPS = 1000
"""Into how many the discrete bound divides a process in continuous time."""

CROSS_ENTROPY = 0.01
"""λ of ``hybrid``."""


@dataclass(frozen=True)
class Case:
    """What every loss is computed from."""

    denoiser: TokenDenoiser
    x_0: Int[Tensor, "batch *x"]
    t: TokenLevel
    streams: Streams
    condition: Condition
    places: Bool[Tensor, "batch *x"]

    @property
    def process(self) -> Categorical:
        return self.denoiser.process

    def believe(self, x_t: Tensor, t: TokenLevel) -> Tensor:
        return self.denoiser(x_t, t, self.condition).log_probs

    def corrupted(self, t: TokenLevel) -> Tensor:
        x_t = self.process.corrupt(self.x_0, t, self.streams)
        return torch.where(self.places, x_t, self.x_0)

    @property
    def slope(self) -> Tensor:
        """−dα/dt."""
        return -self.process.survival.slope(self.t.t).to(self.x_0.device)


def k_uniform(case: Case) -> Tensor:
    terms.require_absorbing(case.process, "k-uniform")
    places = sizes(case.places)
    k = (case.t.t.to(places.device) * places).floor().long() + 1
    k = torch.minimum(k, places)  # t may be 1
    x_t, hidden = hide(case.x_0, k, case.places, case.process.tokens, case.streams)
    log_probs = case.believe(x_t, level_of(case.process, k, places))
    return terms.cross_entropy(log_probs, case.x_0, hidden) * places / k.clamp(min=1)


def masked(case: Case) -> Tensor:
    terms.require_absorbing(case.process, "masked")
    x_t = case.corrupted(case.t)
    log_probs = case.believe(x_t, case.t)
    return case.slope * terms.masked(log_probs, case.x_0, x_t, case.t, case.places)


def score_entropy(case: Case) -> Tensor:
    x_t = case.corrupted(case.t)
    log_probs = case.believe(x_t, case.t)
    return case.slope * terms.score_entropy(
        case.process, log_probs, case.x_0, x_t, case.t, case.places
    )


def cross_entropy(case: Case) -> Tensor:
    x_t = case.corrupted(case.t)
    return terms.cross_entropy(case.believe(x_t, case.t), case.x_0, case.places)


def variational(case: Case) -> Tensor:
    return step_and_cross_entropy(case)[0]


def hybrid(case: Case) -> Tensor:
    step, entropy = step_and_cross_entropy(case)
    return step + CROSS_ENTROPY * entropy


def step_and_cross_entropy(case: Case) -> tuple[Tensor, Tensor]:
    process = case.process
    T = len(process.matrices) if isinstance(process, Steps) else STEPS
    k = (case.t.t * T).ceil().clamp(1, T)
    t, s = process.level(k / T), process.level((k - 1) / T)
    x_t = case.corrupted(t)
    log_probs = case.believe(x_t, t)
    step = terms.variational(process, log_probs, case.x_0, x_t, t, s, case.places)
    return T * step, terms.cross_entropy(log_probs, case.x_0, case.places)


def infilling(case: Case) -> Tensor:
    terms.require_absorbing(case.process, "infilling")
    hidden = patterns(case.t.t, case.places, case.streams)
    x_t = torch.where(hidden, case.process.tokens, case.x_0)
    k, many = sizes(hidden), sizes(case.places)
    t = level_of(case.process, k, many)
    denoiser = case.denoiser
    if not (isinstance(denoiser, TokenNetwork) and denoiser.blind):
        return terms.cross_entropy(case.believe(x_t, t), case.x_0, hidden) * many / k.clamp(min=1)
    log_probs = denoiser.guesses(x_t, t, case.condition)
    twice = sum(terms.cross_entropy(log_probs, case.x_0, p) for p in (hidden, case.places))
    return twice * many / (k + many).clamp(min=1)


TOKEN_LOSSES: dict[str, Callable[[Case], Tensor]] = {
    "k-uniform": k_uniform,
    "masked": masked,
    "score-entropy": score_entropy,
    "variational": variational,
    "cross-entropy": cross_entropy,
    "hybrid": hybrid,
    "infilling": infilling,
}


def default_loss(process: Categorical) -> str:
    """The loss that a process is trained with if nobody says otherwise."""
    frequencies = getattr(process, "frequencies", (0.0,))
    absorbing = process.mask is not None and frequencies[-1] == 1
    return "k-uniform" if absorbing else "hybrid"


def token_loss(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    t: TokenLevel,
    streams: Streams,
    condition: Condition = None,
    *,
    kind: str | None = None,
    places: Bool[Tensor, "batch *x"] | None = None,
) -> Float[Tensor, " batch"]:
    """The loss of each item, in nats, with gradients to what ``denoiser`` is made of.

    Args:
        denoiser: Network with its process.
        x_0: Data. What it holds at places that do not exist is never looked at.
        t: One level per item; their times uniform in [0, 1], as ``training.times.positions``
            draws them.
        streams: Noise, one stream per item.
        condition: Passed to the network; ``"valid"`` says which places exist.
        kind: Row of the table above; ``default_loss`` of the process if not given.
        places: Those that noise may reach and that the loss is about, such as all but the marks of
            begin and end; the ones that exist if not given. The others are shown as they are.

    Raises:
        UnknownNameError: If the table has no such row.
        UnsupportedError: If the process cannot be trained with that row.
        InvalidOptionError: If ``x_0`` holds what is no clean token.
    """
    kind = kind or default_loss(denoiser.process)
    if kind not in TOKEN_LOSSES:
        raise UnknownNameError("loss", kind, TOKEN_LOSSES)
    valid = valid_places(x_0, condition)
    terms.require_tokens(x_0, valid, denoiser.process.tokens)
    places = valid if places is None else valid & places
    safe = torch.where(valid, x_0, 0)
    return TOKEN_LOSSES[kind](Case(denoiser, safe, t, streams, condition, places))
