"""Terms of the bounds on −ln p(x₀), one number per item, differentiable in the beliefs.

A bound is the mean of one of these over noise levels and noise; a training loss is the same with
one draw per item. Beliefs are ln p(x₀,i | x_t), and sums run over the places that exist.

    cross entropy   −Σ_i ln p(x₀,i | x_t)                    over some places
    masked          1/(1 − α) · cross entropy of the hidden places
                    (MDLM; Sahoo et al., 2024; Shi et al., 2024)
    score entropy   1/α · Σ_i Σ_y R(y, x_t,i) [s_y − r_y ln s_y + r_y ln r_y − r_y]
                    (SEDD; Lou, Meng & Ermon, 2024), s and r the ratios p_t(… y …)/p_t(x_t) of the
                    model and of the data's own noise
    uniform         the same for uniform noise, from leave-one-out beliefs (UDLM; Schiff et al.,
                    2025)
    variational     KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) (D3PM; Austin et al., 2021)

All but the last are densities in α: the bound is their integral over α from 0 to 1, whatever the
schedule. Times −dα/dt they are densities in t.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.processes import Categorical, Mixing, TokenLevel
from sfumato.processes.categorical import TINY

__all__ = [
    "certain",
    "cross_entropy",
    "is_uniform",
    "masked",
    "require_absorbing",
    "require_tokens",
    "score_entropy",
    "uniform_entropy",
    "variational",
]


def require_absorbing(process: Categorical, method: str) -> None:
    """Refuses processes whose noise is not all on MASK.

    Raises:
        UnsupportedError: If it is not.
    """
    frequencies = getattr(process, "frequencies", (0.0,))
    if process.mask is None or frequencies[-1] != 1:
        raise UnsupportedError(
            method, "an absorbing process", f"this is {process}",
            instead=["score_bound", "variational_bound"],
        )  # fmt: skip


def require_tokens(x_0: Tensor, valid: Tensor, tokens: int) -> None:
    """Refuses data that holds what is no clean token, such as MASK, where places exist.

    Raises:
        InvalidOptionError: Naming the first such place.
    """
    wrong = valid & ((x_0 < 0) | (x_0 >= tokens))
    if bool(wrong.any()):
        where = wrong.nonzero()[0].tolist()
        raise InvalidOptionError(
            "tokens", f"{int(x_0[tuple(where)])} at place {where[1:]} of item {where[0]}",
            f'clean tokens are 0 to {tokens - 1}; say in condition["valid"] what is padding',
        )  # fmt: skip


def cross_entropy(
    log_probs: Float[Tensor, "batch *x tokens"],
    x_0: Int[Tensor, "batch *x"],
    places: Bool[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """−Σ ln p(x₀,i) over ``places``, in float64."""
    index = x_0.clamp(0, log_probs.shape[-1] - 1).unsqueeze(-1)
    found = log_probs.gather(-1, index).squeeze(-1).double()
    return -torch.where(places, found, 0.0).flatten(1).sum(dim=1)


def certain(x_0: Int[Tensor, "batch *x"], tokens: int) -> Float[Tensor, "batch *x tokens"]:
    """The belief that is all on ``x_0``."""
    blank = torch.full((*x_0.shape, tokens), -torch.inf, dtype=torch.float64, device=x_0.device)
    return blank.scatter_(-1, x_0.clamp(0, tokens - 1).unsqueeze(-1), 0.0)


def masked(
    log_probs: Float[Tensor, "batch *x tokens"],
    x_0: Int[Tensor, "batch *x"],
    x_t: Int[Tensor, "batch *x"],
    t: TokenLevel,
    valid: Bool[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """The density in α of an absorbing process's bound; MASK is the number after the last token."""
    hidden = valid & (x_t == log_probs.shape[-1])
    dead = (1 - t.alpha.to(x_0.device)).clamp(min=TINY)
    return cross_entropy(log_probs, x_0, hidden) / dead


def score_entropy(
    process: Categorical,
    log_probs: Float[Tensor, "batch *x tokens"],
    x_0: Int[Tensor, "batch *x"],
    x_t: Int[Tensor, "batch *x"],
    t: TokenLevel,
    valid: Bool[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """The density in α of the bound of any process in continuous time.

    Raises:
        UnsupportedError: If the process has no rates.
    """
    rate = process.inflow(x_t)
    counts = (rate > 0) & valid.unsqueeze(-1)
    r = process.ratios(certain(x_0, process.tokens), x_t, t)
    s = process.ratios(log_probs, x_t, t)
    # where nothing counts the gradient must be 0, not 0/0
    r, s = torch.where(counts, r, 1.0), torch.where(counts, s, 1.0)
    surprise = (torch.where(r > 0, r, 1.0) / torch.where(r > 0, s, 1.0)).log()
    excess = r * surprise - r + s
    total = torch.where(counts, rate * excess, 0.0).flatten(1).sum(dim=1)
    return total / t.alpha.to(x_0.device).clamp(min=TINY)


def uniform_entropy(
    log_probs: Float[Tensor, "batch *x tokens"],
    x_0: Int[Tensor, "batch *x"],
    x_t: Int[Tensor, "batch *x"],
    t: TokenLevel,
    valid: Bool[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """The density in α of the bound of uniform diffusion (Schiff et al., 2025).

    Args:
        log_probs: *Leave-one-out* beliefs ln p(x₀,i | x_t without place i). With the posterior
            itself in their place this is no bound.
        x_0: Data.
        x_t: State.
        t: Its level.
        valid: Places that exist.
    """
    K, alpha = log_probs.shape[-1], t.against(x_t).unsqueeze(-1)
    own = x_t.unsqueeze(-1)
    true = K * alpha * certain(x_0, K).exp() + 1 - alpha
    model = K * alpha * log_probs.double().exp() + 1 - alpha
    r, s = true / true.gather(-1, own), model / model.gather(-1, own)
    excess = (r * (r / s).log() - r + s).sum(dim=-1)
    total = torch.where(valid, excess, 0.0).flatten(1).sum(dim=1)
    return total / (K * t.alpha.to(x_0.device).clamp(min=TINY))


def variational(
    process: Categorical,
    log_probs: Float[Tensor, "batch *x tokens"],
    x_0: Int[Tensor, "batch *x"],
    x_t: Int[Tensor, "batch *x"],
    t: TokenLevel,
    s: TokenLevel,
    valid: Bool[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """The nats of one step from t to s; −ln p(x₀ | x_t) where s is clean."""
    q = process.reverse(certain(x_0, process.tokens), x_t, t, s)
    p = process.reverse(log_probs, x_t, t, s)
    counts = (q > 0) & valid.unsqueeze(-1)
    q, p = torch.where(counts, q, 1.0), torch.where(counts, p, 1.0)
    return (q * (q / p).log()).flatten(1).sum(dim=1)


def is_uniform(process: Categorical) -> bool:
    """Whether dead tokens become any token, all alike."""
    return (
        isinstance(process, Mixing)
        and process.mask is None
        and max(process.frequencies) - min(process.frequencies) < 1e-12
    )
