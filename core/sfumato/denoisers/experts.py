"""Several denoisers of tokens as one.

    product    p(v) ∝ Π_k p_k(v)^{w_k}       (Hinton, 2002): who is sure decides
    mixture    p(v) = Σ_k w_k p_k(v)         who is right now and then is never ruled out

A product of a counted and a learned denoiser is better than both where their errors differ. Its
weights need not sum to 1. Both families have a best member on given beliefs, which is found here;
``sfumato.training.experts`` gathers the beliefs from data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser, visible
from sfumato.errors import InvalidOptionError
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["MixtureOfExperts", "ProductOfExperts", "mixture_weights", "product_weights"]

FLOOR = -30.0
"""ln p below which a belief counts as this much while weights are fitted, so that one token that
an expert excludes costs a lot and not everything."""


@dataclass(frozen=True, eq=False)
class Experts(TokenDenoiser):
    """What product and mixture share.

    Args:
        experts: Denoisers of the same tokens.
        weights: One for each, not negative, not all 0; all alike if not given.

    Raises:
        InvalidOptionError: If the experts do not fit together, or the weights make no sense.
    """

    experts: tuple[TokenDenoiser, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        experts = tuple(self.experts)
        weights = tuple(float(w) for w in self.weights) or (self.alike(len(experts)),) * len(
            experts
        )
        object.__setattr__(self, "experts", experts)
        object.__setattr__(self, "weights", weights)
        if not experts or len({(e.process.tokens, e.process.mask) for e in experts}) != 1:
            sizes = [(e.process.tokens, e.process.mask) for e in experts]
            raise InvalidOptionError(
                "experts", f"their tokens and MASK are {sizes}", "use experts of the same tokens"
            )
        if len(weights) != len(experts) or not 0 < sum(weights) < float("inf") or min(weights) < 0:
            raise InvalidOptionError(
                "experts", f"weights={weights} for {len(experts)} experts",
                "give one for each, not negative and not all 0",
            )  # fmt: skip

    @staticmethod
    def alike(n: int) -> float:
        """The weight of each of n experts that are trusted equally."""
        return 1 / max(n, 1)

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.experts[0].process

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return any(expert.takes_time for expert, _ in self.consulted)

    @property
    def consulted(self) -> list[tuple[TokenDenoiser, float]]:
        """The experts whose word counts."""
        return [(e, w) for e, w in zip(self.experts, self.weights, strict=True) if w > 0]

    def opinions(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition
    ) -> tuple[Float[Tensor, "experts batch *x tokens"], Float[Tensor, " experts"]]:
        """The beliefs of those consulted, in the widest of their precisions, and their weights."""
        found = [expert(x_t, t, condition).log_probs for expert, _ in self.consulted]
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in found) else torch.float32
        stacked = torch.stack([p.to(x_t.device, dtype) for p in found])
        return stacked, torch.tensor([w for _, w in self.consulted]).to(stacked)


@dataclass(frozen=True, eq=False)
class ProductOfExperts(Experts):
    """Σ_k w_k ln p_k, normalised.

    Where the experts exclude each other's tokens until none is left, their mixture answers.
    """

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        opinions, w = self.opinions(x_t, t, condition)
        return Beliefs(visible(product(opinions, w), x_t, self.process))


@dataclass(frozen=True, eq=False)
class MixtureOfExperts(Experts):
    """ln Σ_k w_k p_k with weights that are made to sum to 1."""

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        opinions, w = self.opinions(x_t, t, condition)
        return Beliefs(visible(mixture(opinions, w), x_t, self.process))


def product(
    opinions: Float[Tensor, "experts *x tokens"], w: Float[Tensor, " experts"]
) -> Float[Tensor, "*x tokens"]:
    found = torch.tensordot(w, opinions.clamp(min=torch.finfo(opinions.dtype).min / 1e3), dims=1)
    found = torch.where(torch.isfinite(opinions).all(dim=0), found, -torch.inf)
    empty = ~torch.isfinite(found).any(dim=-1, keepdim=True)
    return torch.where(empty, mixture(opinions, w), found).log_softmax(dim=-1)


def mixture(
    opinions: Float[Tensor, "experts *x tokens"], w: Float[Tensor, " experts"]
) -> Float[Tensor, "*x tokens"]:
    shares = (w / w.sum()).log().reshape(-1, *(1,) * (opinions.ndim - 1))
    found: Tensor = (opinions + shares).logsumexp(dim=0)
    return found


def product_weights(
    opinions: Float[Tensor, "experts places tokens"],
    truth: Int[Tensor, " places"],
    *,
    steps: int = 60,
) -> tuple[float, ...]:
    """The weights with which the product gives the truth the highest probability.

    The mean of −ln p is convex in w, and falls to its only minimum; weights stay above 0 by
    searching in ln w.

    Args:
        opinions: ln p_k at places whose token is known.
        truth: That token.
        steps: Of L-BFGS.
    """
    beliefs = opinions.double().clamp(min=FLOOR).cpu()
    target = truth.cpu()
    log_w = torch.full((len(beliefs),), -1.0, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([log_w], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        joint = torch.tensordot(log_w.exp(), beliefs, dims=1)
        value = torch.nn.functional.cross_entropy(joint, target)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return tuple(log_w.detach().exp().tolist())


def mixture_weights(
    opinions: Float[Tensor, "experts places tokens"],
    truth: Int[Tensor, " places"],
    *,
    steps: int = 100,
) -> tuple[float, ...]:
    """The shares with which the mixture gives the truth the highest probability, by EM."""
    own = opinions.double().cpu().gather(-1, truth.cpu().expand(len(opinions), -1)[..., None])
    chances = own.squeeze(-1).clamp(min=FLOOR).exp()
    w = torch.full((len(chances), 1), 1 / len(chances), dtype=torch.float64)
    for _ in range(steps):
        w = (w * chances / (w * chances).sum(dim=0)).mean(dim=1, keepdim=True)
    return tuple(w.flatten().tolist())
