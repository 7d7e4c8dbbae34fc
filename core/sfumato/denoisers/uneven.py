"""Mixtures of Gaussians seen with another noise in every element.

With x_t = a ⊙ x₀ + N(0, D), D diagonal, and x₀ ~ N(m, V) within a component,

    S = A V A + D,    E[x₀ | x_t] = m + V A S⁻¹ (x_t − A m),    Cov[x₀ | x_t] = V − V A S⁻¹ A V,

with A = diag(a). No basis diagonalises all of these at once, so every item costs a factorisation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Estimate
from sfumato.noise import Streams
from sfumato.processes import Level

if TYPE_CHECKING:
    from sfumato.denoisers.exact import Mixed

__all__ = ["choose", "pick", "seen_unevenly"]


def seen_unevenly(prior: Mixed, x_t: Tensor, t: Level) -> Estimate:
    """What a mixture of Gaussians says about x₀ where elements are at levels of their own."""
    scores, means, covariances = components(prior, x_t, t)
    share = scores.softmax(dim=1)
    mean = torch.einsum("bk,bkn->bn", share, means)
    apart = means - mean[:, None]
    total = torch.einsum("bk,bknm->bnm", share, covariances)
    total = total + torch.einsum("bk,bkn,bkm->bnm", share, apart, apart)

    def covariance(v: Tensor) -> Tensor:
        product: Tensor = total @ prior.rows(v)[..., None]
        return product.reshape(v.shape).to(v.dtype)

    def draw(streams: Streams) -> Tensor:
        chosen = choose(share, streams)
        powers, basis = torch.linalg.eigh(pick(covariances, chosen))
        noise = basis @ (powers.clamp(min=0).sqrt() * streams.normal(mean))[..., None]
        drawn: Tensor = pick(means, chosen) + noise[..., 0]
        return drawn.reshape(x_t.shape).to(x_t.dtype)

    variance = total.diagonal(dim1=1, dim2=2).reshape(x_t.shape).to(x_t.dtype)
    return Estimate(mean.reshape(x_t.shape).to(x_t.dtype), variance, None, covariance, draw)


def components(prior: Mixed, x_t: Tensor, t: Level) -> tuple[Tensor, Tensor, Tensor]:
    """Per item and component: ln wₖ p(x_t | k), E[x₀ | x_t, k] and Cov[x₀ | x_t, k], float64."""
    x = prior.rows(x_t)
    scale, noise = (
        c.to(x.device).expand(x_t.shape).flatten(1).double()[:, None] for c in (t.alpha, t.sigma**2)
    )
    centres, powers = prior.centres.to(x.device), prior.powers.to(x.device).clamp(min=0)
    basis = prior.eigen[1]
    within = torch.diag_embed(powers)
    if basis is not None:
        basis = basis.to(x.device)
        within = basis @ within @ basis.mT
    cross = within * scale[:, :, None]  # V A, one per item and component
    total = cross * scale[..., None] + torch.diag_embed(noise)
    factor = torch.linalg.cholesky(total)
    offset = x[:, None] - scale * centres
    solved = torch.cholesky_solve(offset[..., None], factor)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    quadratic = (offset * solved[..., 0]).sum(dim=-1) + log_det + x.shape[-1] * math.log(math.tau)
    means = centres + (cross @ solved)[..., 0]
    covariances = within - cross @ torch.cholesky_solve(cross.mT, factor)
    return prior.log_weights.to(x.device) - quadratic / 2, means, covariances


def choose(share: Float[Tensor, "batch k"], streams: Streams) -> Tensor:
    """One index per item, drawn with the probabilities ``share``."""
    u = streams.uniform(share[:, :1])
    return (share.cumsum(dim=1) <= u).sum(dim=1).clamp(max=share.shape[1] - 1)


def pick(draws: Float[Tensor, "batch k *n"], chosen: Tensor) -> Float[Tensor, "batch *n"]:
    """One component per item."""
    return draws[torch.arange(len(draws), device=draws.device), chosen]
