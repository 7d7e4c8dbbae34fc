"""The laws of an operator.

    ⟨A'(x) v, u⟩ = ⟨v, A'(x)* u⟩                 the derivative and its adjoint belong together
    A(3x + v) = 3 A x + A v,   A A⁺ A = A        if it is linear
    (A V A* + Σ) solve(v) = v
    A = U diag(s) V*,  V*V = 1                   if it names a spectrum
    A(x)ᵢ = A(xᵢ)                                no item sees its neighbours

They are measured in double precision by ``sfumato.inverse.checks``; shapes, the precision of x
itself and the likelihood are checked here. Vectors are drawn from fixed streams, so a law that
holds once holds always.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.inverse.checks import check
from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear, Operator
from sfumato.linalg import dot, norm, per_item
from sfumato.noise import Streams
from sfumato.testing.comparisons import agree, require, same_kind

__all__ = ["check_operator"]


def check_operator(operator: Operator, x: Tensor, *, tolerance: float | None = None) -> None:
    """Checks every law above that applies to ``operator``.

    Args:
        operator: What to check.
        x: Two or more items it can measure, ``[batch, *x]``. Odd sizes find more faults.
        tolerance: Largest relative deviation in the precision of ``x``; 10⁻⁵ in single and 10⁻¹⁰ in
            double precision if not given.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    require(x.shape[0] > 1, operator, "checking needs two or more items", f"x has {x.shape[0]}")
    double = x.dtype in (torch.float64, torch.complex128)
    limit = tolerance if tolerance is not None else 1e-10 if double else 1e-5
    streams = Streams.count(0, x.shape[0])
    y = operator(x)
    check_shapes(operator, x, y)
    check_independence(operator, x, y, limit)
    if isinstance(operator, Linear):
        v = streams.normal(x)
        whole, parts = operator(3 * x + v), 3 * y + operator(v)
        agree(whole, parts, limit, operator, "A(3x + v) = 3 A x + A v")
    check_derivative(operator, x, streams.normal(x), streams.normal(y), limit)
    wide = x.to(torch.complex128) if x.is_complex() else x.double()
    for finding in check(operator, wide).findings:
        found = f"relative error {finding.error:.2g}, at most {finding.limit:.2g} is allowed"
        require(finding.holds, operator, f"in double precision {finding.law}", found)
    if isinstance(operator, Linear):
        check_solve(operator, wide)
    check_likelihood(operator, y)


def check_shapes(operator: Operator, x: Tensor, y: Tensor) -> None:
    require(y.shape[0] == x.shape[0], operator, "A(x) keeps the batch axis", f"{list(y.shape)}")
    require(bool(torch.isfinite(y.abs()).all()), operator, "A(x) is finite for finite x")
    same_kind(y, x, operator, "A(x)")
    found = operator.data_shape(tuple(y.shape))
    require(
        tuple(found) == tuple(x.shape), operator, "data_shape returns the shape of x",
        f"{list(found)} for x of {list(x.shape)}",
    )  # fmt: skip


def check_independence(operator: Operator, x: Tensor, y: Tensor, limit: float) -> None:
    alone = torch.cat([operator(x[i : i + 1]) for i in range(x.shape[0])])
    agree(alone, y, limit, operator, "an item's measurement does not depend on its neighbours")


def check_derivative(operator: Operator, x: Tensor, v: Tensor, u: Tensor, limit: float) -> None:
    z, adjoint = operator.linearise(x)
    agree(z, operator(x), limit, operator, "linearise returns A(x)")
    forward, backward = operator.jvp(x, v), adjoint(u)
    require(
        backward.shape == x.shape,
        operator,
        "A'(x)* u has the shape of x",
        f"{list(backward.shape)}",
    )
    same_kind(backward, x, operator, "A'(x)* u")
    size = (norm(forward) * norm(u)).clamp(min=1e-300)
    gap = float(((dot(forward, u) - dot(v, backward)).abs() / size).max())
    require(
        gap <= limit, operator, "⟨A'(x) v, u⟩ = ⟨v, A'(x)* u⟩", f"relative difference {gap:.2g}"
    )


def check_solve(operator: Linear, x: Tensor) -> None:
    # in the range of A: elsewhere A* never asks, and closed forms leave it out
    u = operator(Streams.count(0, x.shape[0]).normal(x))
    variance, noise = x.abs().new_tensor(0.5), x.abs().new_tensor(0.1)
    solved = operator.solve(u, variance, noise)
    back = operator(variance * operator.adjoint(solved)) + noise * solved
    agree(back, u, 1e-3, operator, "(A V A* + Σ) solve(v) = v")


def check_likelihood(operator: Operator, y: Tensor) -> None:
    likelihood = operator.likelihood
    require(isinstance(likelihood, Likelihood), operator, "likelihood is a Likelihood")
    n = y.shape[0]
    drawn = likelihood.sample(y, Streams.count(0, n))
    require(drawn.shape == y.shape, likelihood, "a draw has the shape of y", f"{list(drawn.shape)}")
    same_kind(drawn, y, likelihood, "a draw")
    tail = likelihood.sample(y[1:], Streams.count(0, n - 1, first=1))
    agree(tail, drawn[1:], 1e-6, likelihood, "an item's noise does not depend on its neighbours")
    value = likelihood.log_prob(drawn, y)
    require(
        value.shape == (n,), likelihood, "log_prob has one value per item", f"{list(value.shape)}"
    )
    require(bool(torch.isfinite(value).all()), likelihood, "log_prob of a draw is finite")
    if isinstance(likelihood, Gaussian):
        return  # its gradient is linear in the residual
    with torch.enable_grad():
        z = y.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood.log_prob(drawn, z).sum(), z)
    require(bool(torch.isfinite(gradient).all()), likelihood, "the gradient of log_prob is finite")
    step = per_item(1e-4 / norm(gradient).clamp(min=1e-8), gradient) * gradient
    higher = likelihood.log_prob(drawn.double(), y.double() + step.double())
    uphill = bool((higher >= likelihood.log_prob(drawn.double(), y.double()) - 1e-6).all())
    require(uphill, likelihood, "log_prob rises along its gradient")
