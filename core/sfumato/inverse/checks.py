"""Whether an operator keeps its promises, as numbers a person can read.

Each row is a relative error with the limit that rounding allows: adjointness ⟨Ax, u⟩ = ⟨x, A*u⟩,
linearity, A A⁺ A = A, A = U diag(s) V*, the derivative against finite differences, and whether an
item sees its neighbours. ``sfumato.testing.check_operator`` turns the same laws into a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.inverse.operators import Linear, Operator
from sfumato.linalg import dot, norm, operator_norm
from sfumato.noise import Streams

__all__ = ["Finding", "Report", "check"]


@dataclass(frozen=True)
class Finding:
    """One law: the error that was found and the largest that passes."""

    law: str
    error: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.error <= self.limit  # false for NaN


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        findings: One per law that applies.
        norm: ‖A‖ (of the derivative at x for a nonlinear operator).
    """

    findings: tuple[Finding, ...]
    norm: float

    @property
    def holds(self) -> bool:
        """Whether every law holds."""
        return all(finding.holds for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"‖A‖ = {self.norm:.4g}"]
        for f in self.findings:
            verdict = "holds" if f.holds else "FAILS"
            lines.append(f"{verdict}  {f.law}: {f.error:.1e} (limit {f.limit:.1e})")
        return "\n".join(lines)


def check(operator: Operator, x_like: Tensor, *, seed: int = 0) -> Report:
    """Measures the laws of ``operator`` at a random x.

    Args:
        operator: What to check.
        x_like: Gives shape, dtype and device of x, ``[batch, *x]`` with two items or more; the
            values are used as the point where a nonlinear operator is linearised.
        seed: Of the random vectors.

    Raises:
        ShapeError: If there are fewer than two items.
    """
    if x_like.ndim < 1 or x_like.shape[0] < 2:
        raise ShapeError("x_like", x_like.shape, "two items or more")
    streams = Streams.count(seed, x_like.shape[0])
    x, v = x_like, streams.normal(x_like)
    epsilon = torch.finfo(x.dtype).eps
    tight, loose = 100 * epsilon, max(1e-3, 100 * epsilon)
    z, adjoint = operator.linearise(x)
    u = streams.normal(z)
    forward, backward = operator.jvp(x, v), adjoint(u)
    gap = (dot(forward, u) - dot(v, backward)).abs()
    scale = norm(forward) * norm(u) + norm(v) * norm(backward)
    findings = [
        Finding("⟨A'v, u⟩ = ⟨v, A'*u⟩", worst(gap / scale.clamp(min=1e-300)), tight),
        Finding("an item does not see its neighbours", independence(operator, x), tight),
        Finding("the derivative is the limit of differences", difference(operator, x, v), 1e-2),
    ]
    if isinstance(operator, Linear):
        findings += linear_findings(operator, x, v, tight, loose)
    size = operator_norm(lambda w: adjoint(operator.jvp(x, w)), v)
    return Report(tuple(findings), float(size.max()))


def linear_findings(
    operator: Linear, x: Tensor, v: Tensor, tight: float, loose: float
) -> list[Finding]:
    y, other = operator(x), operator(v)
    whole = operator(3 * x + v)
    found = [
        Finding("A(3x + v) = 3Ax + Av", relative(whole, 3 * y + other), tight),
        Finding("A A⁺ A = A", relative(operator(operator.pinv(y)), y), loose),
    ]
    spectrum = operator.spectrum
    if spectrum is not None:
        c = spectrum.analyse(x)
        singular, _ = spectrum.matched(c)
        again = spectrum.analyse(spectrum.synthesise(c))
        found += [
            Finding("A = U diag(s) V*", relative(spectrum.embed(singular * c), y), tight),
            Finding("U*A = diag(s) V*", relative(spectrum.project(y), singular * c), tight),
            Finding("V*V = 1", relative(again, c), tight),
        ]
    return found


def independence(operator: Operator, x: Tensor) -> float:
    alone = torch.cat([operator(x[i : i + 1]) for i in range(x.shape[0])])
    return relative(operator(x), alone)


def difference(operator: Operator, x: Tensor, v: Tensor) -> float:
    """Against central differences in double precision, where rounding leaves room for them."""
    wide = torch.complex128 if x.is_complex() else torch.float64
    at, along = x.to(wide), v.to(wide)
    size = float(1e-4 * norm(at).clamp(min=1).min() / norm(along).max())
    found = (operator(at + size * along) - operator(at - size * along)) / (2 * size)
    return relative(found, operator.jvp(at, along))


def relative(a: Tensor, b: Tensor) -> float:
    """Largest ‖a − b‖/‖b‖ over the items."""
    return worst(norm(a - b) / torch.maximum(norm(b), torch.full_like(norm(b), 1e-300)))


def worst(values: Tensor) -> float:
    return float(values.nan_to_num(torch.inf).max())
