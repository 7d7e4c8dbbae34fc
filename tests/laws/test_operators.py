"""Laws of the generic operators: adjoints, pseudo-inverses, spectra, closed forms, bad input."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.inverse.checks import check
from sfumato.inverse.likelihoods import Gaussian, Poisson
from sfumato.inverse.operators import FromFunction, Linear, Scaled
from sfumato.inverse.stacking import Stacked
from sfumato.inverse.standard import (
    Clip,
    Convolve,
    Downsample,
    Fourier,
    Identity,
    Mask,
    Matrix,
    Pointwise,
)
from sfumato.linalg import dot, norm
from sfumato.noise import Streams
from sfumato.testing import check_operator

SYMMETRIC = torch.outer(torch.tensor([0.25, 0.6, 0.25]), torch.tensor([0.1, 0.2, 0.9, 0.2, 0.1]))
MOTION = torch.tensor([[0.0, 0.1, 0.2], [0.0, 2.0, 0.0], [0.4, 0.1, 0.0]])


def random(*shape, dtype=torch.float64, seed=0):
    blank = torch.zeros(1, *shape, dtype=dtype)
    return Streams.count(seed, 1).normal(blank)[0]


MASK = random(9, 12) > 0

LINEAR = {
    "identity": (Identity(), (2, 9, 12)),
    "mask": (Mask(MASK), (2, 9, 12)),
    "matrix": (Matrix(random(7, 24), (2, 12)), (2, 12)),
    "tall matrix": (Matrix(random(30, 12)), (12,)),
    "periodic blur": (Convolve(SYMMETRIC, (9, 12), "circular"), (2, 9, 12)),
    "periodic motion": (Convolve(MOTION, (9, 12), "circular"), (2, 9, 12)),
    "reflected blur": (Convolve(SYMMETRIC, (9, 12), "reflect"), (2, 9, 12)),
    "reflected motion": (Convolve(MOTION, (9, 12), "reflect"), (2, 9, 12)),
    "long kernel": (Convolve(torch.tensor([1, 1, 1, 9, 1, 1, 1.0]) / 9, (3,), "reflect"), (2, 3)),
    "wrapped kernel": (Convolve(torch.tensor([1, 1, 1, 9, 1, 1, 2.0]) / 9, (3,), "circular"), (3,)),
    "3-D blur": (Convolve(torch.eye(3).expand(3, 3, 3) / 9, (3, 4, 5), "circular"), (3, 4, 5)),
    "bicubic": (Downsample(3, (9, 12)), (2, 9, 12)),
    "reflected bicubic": (Downsample(3, (9, 12), "bicubic", "reflect"), (9, 12)),
    "periodic bicubic": (Downsample(2, (8, 12), "bicubic", "circular"), (8, 12)),
    "box": (Downsample(4, (8, 12), "box"), (2, 8, 12)),
    "1-D box": (Downsample(2, (12,), "box"), (12,)),
    "masked blur": (Mask(MASK) @ Convolve(SYMMETRIC, (9, 12)), (9, 12)),
}
COMPLEX = {
    "fourier": (Fourier(), (2, 9, 12)),
    "masked fourier": (Fourier(MASK), (9, 12)),
    "complex matrix": (Matrix(random(7, 24, dtype=torch.complex128), (2, 12)), (2, 12)),
    "complex blur": (Convolve(MOTION * (1 + 0.5j), (9, 12), "circular"), (9, 12)),
}
REAL_TYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def everything():
    for name, (operator, shape) in LINEAR.items():
        for dtype in REAL_TYPES:
            yield pytest.param(operator, shape, dtype, id=f"{name}-{str(dtype)[6:]}")
    for name, (operator, shape) in COMPLEX.items():
        for dtype in REAL_TYPES[2:]:
            yield pytest.param(operator, shape, dtype, id=f"{name}-{str(dtype)[6:]}")


@pytest.mark.parametrize(("operator", "shape", "dtype"), list(everything()))
def test_linear_operators_keep_the_laws(operator: Linear, shape, dtype) -> None:
    report = check(operator, random(3, *shape, dtype=dtype))
    assert report.holds, str(report)


@pytest.mark.parametrize("name", LINEAR)
def test_the_public_contract_test_accepts_every_operator(name: str) -> None:
    operator, shape = LINEAR[name]
    check_operator(operator, random(3, *shape))


@pytest.mark.parametrize(("operator", "shape", "dtype"), list(everything()))
def test_solve_inverts_for_numbers_and_for_arrays(operator: Linear, shape, dtype) -> None:
    x = random(2, *shape, dtype=dtype)
    y = operator(x)
    real = x.real.dtype if x.is_complex() else x.dtype
    noise = torch.tensor(0.05, dtype=real)
    each = torch.tensor([0.3, 2.0], dtype=real).reshape(2, *(1,) * len(shape))
    array = random(2, *shape, dtype=real).abs() + 0.1
    for variance in (torch.tensor(0.7, dtype=real), each, array):
        u = operator.solve(y, variance, noise, tolerance=1e-6, iterations=400)
        again = operator(variance * operator.adjoint(u)) + noise * u
        assert float((norm(again - y) / norm(y)).max()) < 2e-4


@pytest.mark.parametrize("name", LINEAR)
def test_an_exact_measurement_is_met_exactly(name: str) -> None:
    operator, shape = LINEAR[name]
    x = random(2, *shape)
    y, zero = operator(x), torch.tensor(0.0, dtype=torch.float64)
    drawn = operator.draw(0 * x, y, torch.tensor(0.5).double(), zero, Streams.count(0, 2))
    assert torch.isfinite(drawn).all()
    assert float((norm(operator(drawn) - y) / norm(y)).max()) < 1e-3


def test_draws_have_the_posterior_moments() -> None:
    n, operator = 5000, Matrix(random(2, 3))
    centre, y = random(3), random(2, seed=1)
    variance, noise = torch.tensor([0.5, 1.0, 2.0]).double(), torch.tensor(0.2).double()
    draws = operator.draw(
        centre.expand(n, 3), y.expand(n, 2), variance[None], noise, Streams.count(0, n)
    )
    a, v = operator.matrix, torch.diag(variance)
    gain = v @ a.T @ torch.linalg.inv(a @ v @ a.T + noise * torch.eye(2).double())
    mean, covariance = centre + gain @ (y - a @ centre), v - gain @ a @ v
    spread = covariance.diagonal().sqrt()
    assert ((draws.mean(0) - mean).abs() < 5 * spread / n**0.5).all()
    # a sample covariance has standard error √(C_ii C_jj + C_ij²)/√n
    error = (spread[:, None] ** 2 * spread**2 + covariance**2).sqrt() / n**0.5
    assert ((torch.cov(draws.T) - covariance).abs() < 5 * error).all()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_equals_antialiased_interpolation_of_torch(factor: int) -> None:
    x = random(1, 2, 24, 36)
    expected = torch.nn.functional.interpolate(
        x, scale_factor=1 / factor, mode="bicubic", antialias=True
    )
    torch.testing.assert_close(Downsample(factor, (24, 36))(x), expected)


@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "reflect"), ("circular", "wrap")])
def test_convolution_equals_scipy(boundary: str, mode: str) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = random(1, 9, 12)
    expected = ndimage.convolve(x[0].numpy(), MOTION.double().numpy(), mode=mode)
    found = Convolve(MOTION.double(), (9, 12), boundary)(x)[0]
    torch.testing.assert_close(found, torch.from_numpy(expected))


def test_what_lies_outside_a_mask_is_never_used() -> None:
    operator, x = Mask(MASK), random(2, 9, 12)
    junk = torch.where(MASK, operator(x), torch.nan)
    torch.testing.assert_close(operator.pinv(junk), operator(x))
    one = torch.tensor(1.0, dtype=torch.float64)
    torch.testing.assert_close(operator.solve(junk, one, one), operator(x) / 2)
    assert operator.observed(x) == int(MASK.sum())


def test_a_simulated_measurement_is_zero_outside_the_mask() -> None:
    y = Mask(MASK, Gaussian(1.0)).measure(random(2, 9, 12))
    assert (y[:, ~MASK] == 0).all()
    assert (y[:, MASK] != 0).all()


def test_composition_applies_the_inner_operator_first() -> None:
    inner, outer = Convolve(SYMMETRIC, (9, 12)), Downsample(3, (9, 12), likelihood=Gaussian(0.1))
    both, x = outer @ inner, random(2, 9, 12)
    assert isinstance(both, Linear)
    torch.testing.assert_close(both(x), outer(inner(x)))
    assert both.likelihood == Gaussian(0.1)
    assert both.data_shape((2, 3, 4)) == (2, 9, 12)
    assert check(both, x).holds


def test_stacked_and_scaled_operators_keep_the_laws() -> None:
    a, b = Mask(MASK, Gaussian(0.1)), Downsample(3, (9, 12), likelihood=Gaussian(0.2))
    stack = Stacked((a, b), ((9, 12), (3, 4)))
    assert check(stack, random(2, 9, 12)).holds
    assert check(Scaled(a, torch.tensor([2.0]), Gaussian(0.1)), random(2, 9, 12)).holds


def test_an_adjoint_by_differentiation_is_the_adjoint() -> None:
    kernel = Convolve(MOTION, (9, 12))
    operator = FromFunction(kernel, (9, 12))
    y = random(2, 9, 12)
    torch.testing.assert_close(operator.adjoint(y), kernel.adjoint(y))


def test_nonlinear_operators_have_a_consistent_derivative() -> None:
    x = random(3, 5, 4)
    for operator in (Pointwise(torch.exp), Clip(-0.5, 0.5), Pointwise(torch.exp) @ Identity()):
        report = check(operator, x)
        assert report.holds, str(report)


def test_a_wrong_adjoint_is_found() -> None:
    class Wrong(Convolve):
        def adjoint(self, y):
            return self(y)  # a blur is not its own adjoint unless its kernel is symmetric

    report = check(Wrong(MOTION, (9, 12)), random(2, 9, 12))
    assert not report.holds
    assert "FAILS" in str(report)


def test_the_norm_of_an_operator_is_its_largest_singular_value() -> None:
    operator = Matrix(random(7, 5))
    expected = torch.linalg.matrix_norm(operator.matrix, 2)
    assert check(operator, random(2, 5)).norm == pytest.approx(float(expected), rel=1e-2)


BAD = {
    "even kernel": (lambda: Convolve(torch.ones(2, 3), (5, 5)), ShapeError),
    "zero kernel": (lambda: Convolve(torch.zeros(3, 3), (5, 5)), InvalidOptionError),
    "kernel with NaN": (lambda: Convolve(torch.full((3, 3), torch.nan), (5, 5)), NotFiniteError),
    "kernel of other rank": (lambda: Convolve(torch.ones(3), (5, 5)), ShapeError),
    "unknown boundary": (lambda: Convolve(torch.ones(3), (5,), "zero"), InvalidOptionError),
    "factor that does not divide": (lambda: Downsample(2, (9, 12)), ShapeError),
    "factor 1": (lambda: Downsample(1, (9, 12)), InvalidOptionError),
    "unknown kernel": (lambda: Downsample(2, (8,), "lanczos"), InvalidOptionError),
    "empty mask": (lambda: Mask(torch.zeros(3)), InvalidOptionError),
    "grey mask": (lambda: Mask(torch.full((3,), 0.5)), InvalidOptionError),
    "vector as matrix": (lambda: Matrix(torch.ones(3)), ShapeError),
    "matrix of another size": (lambda: Matrix(torch.ones(3, 4), (2, 3)), ShapeError),
    "four axes": (lambda: Fourier(axes=4), InvalidOptionError),
    "empty range": (lambda: Clip(1.0, 0.0), InvalidOptionError),
    "real data": (lambda: Fourier()(torch.ones(1, 4, 4)), InvalidOptionError),
    "real data for a complex kernel": (
        lambda: Convolve(torch.ones(3) * 1j, (4,))(torch.ones(1, 4)), InvalidOptionError
    ),
    "real data for a complex matrix": (
        lambda: Matrix(torch.ones(3, 4) * 1j)(torch.ones(1, 4)), InvalidOptionError
    ),
    "data of another size": (lambda: Downsample(2, (8, 8))(torch.ones(1, 8, 6)), ShapeError),
    "data without batch": (lambda: Convolve(torch.ones(3), (5,))(torch.ones(5)), ShapeError),
    "data unlike the mask": (lambda: Mask(torch.ones(4))(torch.ones(1, 5)), ShapeError),
    "one item to check": (lambda: check(Identity(), torch.ones(1, 3)), ShapeError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str) -> None:
    make, error = BAD[name]
    with pytest.raises(error):
        make()


def test_a_poisson_measurement_has_its_mean() -> None:
    x = torch.full((5000, 1), 3.0)
    y = Identity(Poisson(4.0)).measure(x)
    assert abs(float(y.mean()) - 3.0) < 5 * (3 / 4 / 5000) ** 0.5
    assert float(dot(y, y).min()) >= 0
