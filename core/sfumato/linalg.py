"""Per-sample linear algebra on callables: any shape, real or complex, one answer per item.

Every item of the batch has its own step sizes and its own stopping, so its answer does not depend
on its neighbours. Scalar products are float64 where the state is float32, because it is there that
conjugate gradients lose orthogonality first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["conjugate_gradient", "dot", "gmres", "moved", "norm", "operator_norm", "per_item"]

Map = Callable[[Tensor], Tensor]
BLOCK = 256


def dot(a: Tensor, b: Tensor) -> Float[Tensor, " batch"]:
    """Re⟨a, b⟩ of each item, in float64."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return total(product.flatten(1))


def total(x: Tensor) -> Float[Tensor, " batch"]:
    """Sum of each row, in float64.

    Blocks are summed in the precision of ``x``: summing it all in float64 would first make a
    float64 copy, which costs several times as much as the products themselves. Blocks of one
    length also make the result independent of the number of rows.
    """
    whole, rest = divmod(x.shape[1], BLOCK)
    head = x[:, : whole * BLOCK] if rest else x
    blocks = head.reshape(len(x), whole, BLOCK).sum(dim=2).sum(dim=1, dtype=torch.float64)
    # most states are whole blocks, and small operations are what a dot product costs
    return blocks + x[:, whole * BLOCK :].sum(dim=1, dtype=torch.float64) if rest else blocks


def norm(a: Tensor) -> Float[Tensor, " batch"]:
    """Euclidean norm of each item, in float64."""
    return dot(a, a).sqrt()


def per_item(value: Tensor, x: Tensor) -> Tensor:
    """One number per item, shaped and typed to multiply ``x``."""
    real = x.real.dtype if x.is_complex() else x.dtype
    return value.to(real).reshape(-1, *(1,) * (x.ndim - 1))


def moved(x: Tensor, step: Tensor, along: Tensor) -> Tensor:
    """x + step · along with one step per item, in one pass over memory."""
    return torch.addcmul(x, per_item(step, x), along)


def conjugate_gradient(
    matrix: Map,
    b: Tensor,
    *,
    start: Tensor | None = None,
    precondition: Map | None = None,
    tolerance: float = 1e-6,
    iterations: int = 100,
) -> Tensor:
    """Solves M x = b for a Hermitian positive semidefinite M, for each item alone.

    Args:
        matrix: x ↦ M x.
        b: Right-hand side, ``[batch, *x]``.
        start: First guess; zero if not given.
        precondition: x ↦ P x with P ≈ M⁻¹, Hermitian positive definite.
        tolerance: An item stops when its residual norm falls below this share of ‖b‖.
        iterations: Largest number of applications of M.

    Returns:
        x. For singular, consistent systems the solution that ``start`` leads to. An item whose
        matrix turns out not positive along a search direction (as an inexact Jacobian may) keeps
        the last iterate.
    """
    x = torch.zeros_like(b) if start is None else start
    r = b if start is None else b - matrix(x)
    z = r if precondition is None else precondition(r)
    p, rho = z, dot(r, z)
    goal = tolerance * norm(b)
    active = norm(r) > goal
    for _ in range(iterations):
        if not bool(active.any()):
            break
        mp = matrix(p)
        curvature = dot(p, mp)
        active = active & (curvature > 0)
        step = torch.where(active, rho / curvature.where(active, 1.0), 0.0)
        x, r = moved(x, step, p), moved(r, -step, mp)
        z = r if precondition is None else precondition(r)
        rho, previous = dot(r, z), rho
        active = active & (norm(r) > goal)
        p = moved(z, torch.where(active, rho / previous.where(active, 1.0), 0.0), p)
    return x


def gmres(
    matrix: Map,
    b: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    iterations: int = 20,
) -> Tensor:
    """Solves M x = b for any M, for each item alone (Saad & Schultz, 1986; without restarts).

    Among all x in the Krylov space of M and b it takes the one of least residual. A network's
    Jacobian is not quite symmetric, and conjugate gradients may then stall where this does not.

    Args:
        matrix: x ↦ M x.
        b: Right-hand side, ``[batch, *x]``.
        start: First guess; zero if not given.
        tolerance: An item stops when its residual norm falls below this share of ‖b‖.
        iterations: Largest number of applications of M; as many states are kept in memory.
    """
    x = torch.zeros_like(b) if start is None else start
    r = b if start is None else b - matrix(x)
    size, goal = norm(r), tolerance * norm(b)
    wide = torch.complex128 if b.is_complex() else torch.float64
    hessenberg = torch.zeros(len(b), iterations + 1, iterations, dtype=wide, device=b.device)
    basis = [r / per_item(size.where(size > 0, 1.0), r)]
    combination = hessenberg[:, 0]
    active = size > goal
    for j in range(iterations):
        if not bool(active.any()):
            break
        w = matrix(basis[j])
        for i, v in enumerate(basis):
            product = (v.conj() * w).flatten(1).sum(dim=1, dtype=wide)
            hessenberg[:, i, j] = product * active
            w = w - product.reshape(-1, *(1,) * (w.ndim - 1)).to(w.dtype) * v
        length = norm(w) * active
        hessenberg[:, j + 1, j] = length
        # an item that has stopped gets vectors of zeros, which change its solution no more
        scale = torch.where(length > 0, 1 / length.where(length > 0, 1.0), 0.0)
        basis.append(per_item(scale, w) * w)
        inverse = torch.linalg.pinv(hessenberg[:, : j + 2, : j + 1], rtol=1e-12)
        combination = inverse[:, :, 0] * size[:, None]
        fitted = (hessenberg[:, : j + 2, : j + 1] @ combination[:, :, None])[..., 0]
        fitted[:, 0] -= size
        active = active & (torch.linalg.vector_norm(fitted, dim=1) > goal) & (length > 0)
    for j, v in enumerate(basis[:-1]):
        weight = combination[:, j].reshape(-1, *(1,) * (b.ndim - 1))
        x = x + weight.to(b.dtype) * v
    return x


def operator_norm(gram: Map, x: Tensor, *, iterations: int = 30) -> Float[Tensor, " batch"]:
    """‖A‖ of each item from the power method on ``gram`` = A*A, starting at ``x``."""
    value = norm(x)
    for _ in range(iterations):
        x = gram(x / per_item(value.clamp(min=1e-300), x))
        value = norm(x)
    return value.sqrt()
