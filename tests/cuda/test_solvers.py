"""Inverse problems: every operator, every solver, the same on a device as on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from devices import agree

from sfumato.denoisers import Denoiser, Estimate, GaussianPrior
from sfumato.denoisers.base import Condition
from sfumato.evaluation.known import Known
from sfumato.evaluation.truth import HeavyTailed, LinearGaussian, Mixture
from sfumato.inverse import registry
from sfumato.inverse.convolutions import Convolve
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.likelihoods import Laplace, Poisson, Quantised
from sfumato.inverse.operators import FromFunction, Operator
from sfumato.inverse.problems import Problem
from sfumato.inverse.resampling import Downsample
from sfumato.inverse.standard import Clip, Fourier, Identity, Mask, Matrix, Pointwise
from sfumato.linalg import gmres
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, Level

pytestmark = pytest.mark.gpu
SHAPE, N, SIGMA = (1, 4, 6), 3, 0.1
SIZE = 24
MADE = torch.Generator().manual_seed(0)
KEPT = torch.rand(SHAPE, generator=MADE) < 0.6
KERNEL = torch.tensor([[0.1, 0.2, 0.0], [0.1, 0.3, 0.1], [0.0, 0.1, 0.1]])


class Pictures(Denoiser):
    """An exact Gaussian prior of small pictures that can be differentiated."""

    head = "variance"
    takes_uneven = True

    def __init__(self, process: Gaussian) -> None:
        place = torch.arange(SIZE, dtype=torch.float64)
        covariance = 0.3**2 * 0.8 ** (place[:, None] - place).abs()
        self.prior = GaussianPrior(process, 0.4 + 0 * place, covariance)
        self.process = process

    def __call__(self, x_t: torch.Tensor, t: Level, condition: Condition = None) -> Estimate:
        found = self.prior(x_t.flatten(1), flat(t))
        assert found.variance is not None
        return Estimate(
            found.mean.reshape(x_t.shape), variance=found.variance.expand(found.mean.shape)
            .reshape(x_t.shape),
        )  # fmt: skip


def flat(t: Level) -> Level:
    if not t.uneven:
        return t
    return Level(t.t, t.alpha.flatten(1), t.sigma.flatten(1), t.process)


NOISE = Noise(SIGMA)
OPERATORS: dict[str, Operator] = {
    "identity": Identity(likelihood=NOISE),
    "mask": Mask(KEPT, likelihood=NOISE),
    "mask, noise per pixel": Mask(
        KEPT, likelihood=Noise(0.05 + 0.1 * torch.rand(SHAPE, generator=MADE))
    ),
    "circular convolution": Convolve(KERNEL, SHAPE[1:], "circular", likelihood=NOISE),
    "reflected convolution": Convolve(KERNEL, SHAPE[1:], likelihood=NOISE),
    "super-resolution": Downsample(2, SHAPE[1:], likelihood=NOISE),
    "matrix": Matrix(torch.randn(8, SIZE, generator=MADE) / 3, SHAPE, likelihood=NOISE),
    "own function": FromFunction(lambda x: x[..., ::2] + x[..., 1::2], SHAPE, NOISE),
    "clip": Clip(0.2, 0.6, likelihood=NOISE),
    "Poisson": Identity(likelihood=Poisson(20.0)),
    "Laplace": Mask(KEPT, likelihood=Laplace(SIGMA)),
    "quantised": Identity(likelihood=Quantised(0.25, 0.05)),
    "pointwise": Pointwise(torch.tanh, likelihood=NOISE),
}


def solved(problem: Problem, solver: str, device: str) -> list[torch.Tensor]:
    """Draws on the CPU and on the device."""
    options: dict[str, object] = {"steps": 6, **({"particles": 4} if solver == "tds" else {})}
    return [
        registry.make(solver, **options)(
            replace(problem, y=problem.y.to(where)), Streams.count(2, len(problem.y))
        )
        for where in ("cpu", device)
    ]


def data(operator: Operator, prior: Pictures) -> torch.Tensor:
    # in double precision, since some rules multiply rounding errors along the way
    x = prior.prior.sample(Streams.count(5, 1)).reshape(1, *SHAPE)
    y = operator.measure(x, seed=3)
    return y.expand(N, *y.shape[1:])


CASES = [
    (name, solver)
    for name, operator in OPERATORS.items()
    for solver in registry.applicable(operator, Pictures(Gaussian(VP())))
]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_agree(device: str, name: str) -> None:
    operator, prior = OPERATORS[name], Pictures(Gaussian(VP()))
    x = prior.prior.sample(Streams.count(1, 2)).reshape(2, *SHAPE).float()
    agree(operator.measure(x.to(device), seed=1), operator.measure(x, seed=1))
    agree(operator(x.to(device)), operator(x))
    if hasattr(operator, "adjoint"):
        y = operator(x)
        agree(operator.adjoint(y.to(device)), operator.adjoint(y))
        agree(operator.pinv(y.to(device)), operator.pinv(y), 1e-3)
        spread = torch.full_like(x[:1], 0.2)
        noise = torch.tensor(0.1)
        found = operator.solve(y.to(device), spread.to(device), noise.to(device))
        agree(found, operator.solve(y, spread, noise), 1e-3)


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_a_solver_agrees(device: str, name: str, solver: str) -> None:
    prior = Pictures(Gaussian(VP()))
    y = data(OPERATORS[name], prior)
    problem = Problem(prior, OPERATORS[name], y)
    found = solved(problem, solver, device)
    assert found[1].device == torch.empty(0, device=device).device
    agree(found[1], found[0])


EXACT = [
    (known, solver)
    for known in (LinearGaussian("inpaint"), LinearGaussian("random"), Mixture(), HeavyTailed())
    for solver in registry.applicable(known.operator, known.problem(Gaussian(VP()), 1).denoiser)
]


@pytest.mark.parametrize(("known", "solver"), EXACT, ids=lambda v: repr(v).split("(")[0])
def test_a_solver_agrees_where_the_posterior_is_known(
    device: str, known: Known, solver: str
) -> None:
    problem = known.problem(Gaussian(VP()), N, dtype=torch.float64)
    found = solved(problem, solver, device)
    assert found[1].dtype == torch.float64
    agree(found[1], found[0], 1e-4)


def test_complex_numbers_agree(device: str) -> None:
    operator = Fourier(torch.rand(SHAPE, generator=MADE) < 0.5, likelihood=NOISE)
    x = torch.randn(2, *SHAPE, generator=MADE, dtype=torch.complex64)
    y = operator(x)
    agree(torch.view_as_real(operator(x.to(device))), torch.view_as_real(y))
    agree(torch.view_as_real(operator.pinv(y.to(device))), torch.view_as_real(operator.pinv(y)))


def test_gmres_agrees(device: str) -> None:
    matrix = torch.eye(6) + 0.2 * torch.randn(6, 6, generator=MADE)
    b = torch.randn(3, 6, generator=MADE)
    expected = gmres(lambda v: v @ matrix.T, b)
    moved = matrix.to(device)
    agree(gmres(lambda v: v @ moved.T, b.to(device)), expected)
