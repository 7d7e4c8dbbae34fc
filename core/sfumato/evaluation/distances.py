"""Distances between distributions, from samples or moments.

W2   Wasserstein: the root of the least mean square way samples of one must be moved to be
     samples of the other. Closed form for Gaussians (Dowson & Landau, 1982),
     W2² = ‖m − m'‖² + tr(C + C' − 2 (C^½ C' C^½)^½); by sorting in one dimension.
SW2  root mean square of W2 over directions (Bonneel et al., 2015).
TV   half the L1 distance of two discrete distributions.
energy, kernel   two-sample statistics: 0 in the mean if the distributions agree (Székely & Rizzo,
     2013; Bińkowski et al., 2018, "KID").

Samples are ``[n, *x]``; all is computed in float64 on flattened x.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import ShapeError

__all__ = [
    "energy_distance",
    "gaussian_w2",
    "kernel_distance",
    "moments",
    "sliced_w2",
    "total_variation",
]


def moments(x: Float[Tensor, "n *x"]) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and covariance ``[d, d]`` of samples."""
    rows = table(x)
    mean = rows.mean(dim=0)
    apart = rows - mean
    return mean, apart.T @ apart / (len(rows) - 1)


def gaussian_w2(
    mean: Tensor, covariance: Tensor, other: Tensor, other_covariance: Tensor
) -> Tensor:
    """W2 between N(mean, covariance) and N(other, other_covariance)."""
    root = square_root(covariance.double())
    cross = square_root(root @ other_covariance.double() @ root)
    spread = covariance.trace() + other_covariance.trace() - 2 * cross.trace()
    return ((mean - other).square().sum() + spread.clamp(min=0)).double().sqrt()


def sliced_w2(
    x: Float[Tensor, "n *x"], y: Float[Tensor, "m *x"], *, directions: int = 200, seed: int = 0
) -> Tensor:
    """SW2 between two sets of samples over fixed random directions."""
    a, b = tables(x, y)
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(a.shape[1], directions, generator=generator, dtype=torch.float64).to(a.device)
    u = u / u.norm(dim=0)
    count = max(len(a), len(b))
    place = (torch.arange(count, dtype=torch.float64, device=a.device) + 0.5) / count
    gap = at_ranks(a @ u, place) - at_ranks(b @ u, place)
    return gap.square().mean().sqrt()


def total_variation(p: Float[Tensor, " k"], q: Float[Tensor, " k"]) -> Tensor:
    """½ Σ |p − q|."""
    return (p.double() - q.double()).abs().sum() / 2


def energy_distance(x: Float[Tensor, "n *x"], y: Float[Tensor, "m *x"]) -> Tensor:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, unbiased: it can be slightly negative."""
    a, b = tables(x, y)
    return (
        2 * torch.cdist(a, b).mean()
        - off_diagonal(torch.cdist(a, a))
        - off_diagonal(torch.cdist(b, b))
    )


def kernel_distance(x: Float[Tensor, "n *x"], y: Float[Tensor, "m *x"]) -> Tensor:
    """Squared maximum mean discrepancy with the kernel (⟨x, y⟩/d + 1)³, unbiased.

    Of features of a classifier this is KID; here x may be anything of order one.
    """
    a, b = tables(x, y)

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / a.shape[1] + 1) ** 3

    return off_diagonal(kernel(a, a)) + off_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()


def table(x: Tensor) -> Tensor:
    if x.ndim < 2 or len(x) < 2:
        raise ShapeError("samples", x.shape, "two or more, sample axis first")
    return x.flatten(1).double()


def tables(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape[1:] != y.shape[1:]:
        raise ShapeError("one sample", y.shape[1:], "×".join(map(str, x.shape[1:])))
    return table(x), table(y)


def square_root(matrix: Tensor) -> Tensor:
    powers, basis = torch.linalg.eigh((matrix + matrix.mT) / 2)
    root: Tensor = (basis * powers.clamp(min=0).sqrt()) @ basis.mT
    return root


def off_diagonal(matrix: Tensor) -> Tensor:
    n = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))


def at_ranks(values: Tensor, place: Tensor) -> Tensor:
    """Sorted columns of ``values``, read at relative ranks ``place``."""
    ordered = values.sort(dim=0).values
    if len(ordered) == len(place):
        return ordered
    rank = (place * len(ordered) - 0.5).clamp(0, len(ordered) - 1)
    low = rank.floor().long()
    high = (low + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(
        ordered[low], ordered[high], (rank - low)[:, None].expand(-1, values.shape[1])
    )
