"""Langevin steps against densities integrated on a grid, element by element where they can be."""

from __future__ import annotations

import pytest
import torch

from sfumato.denoisers import GaussianPrior
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.likelihoods import Laplace, Poisson, Quantised
from sfumato.inverse.operators import FromFunction, Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.langevin import langevin
from sfumato.inverse.solvers.separate import gathering
from sfumato.inverse.standard import Convolve, Downsample, Fourier, Identity, Mask, Matrix
from sfumato.noise import Streams
from sfumato.processes import Gaussian

PRIOR = GaussianPrior(Gaussian(), torch.zeros(1), torch.ones(1))
COUNTS, EACH, GAIN = (0, 3, 4000), 1000, 1000.0


def moments(counts: float, centre: float, variance: float) -> tuple[float, float]:
    """Mean and standard deviation of one element's rate, in units of x, from a grid."""
    counts_there = torch.linspace(-1, max(20, counts + 500), 400_001, dtype=torch.float64)
    place = counts_there[:, None] / GAIN
    log_p = Poisson(GAIN).log_prob(torch.full_like(place, counts / GAIN), place)
    weight = (log_p - (place[:, 0] - centre) ** 2 / (2 * variance)).softmax(0)
    mean = (weight * place[:, 0]).sum()
    return float(mean), float((weight * (place[:, 0] - mean) ** 2).sum().sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("centre", "variance"), [(1.0, 1e4), (0.002, 1e-4)])
def test_any_number_of_elements_without_counts_have_the_moments_of_their_posterior(
    dtype, centre: float, variance: float
) -> None:
    n = 4
    y = torch.tensor(COUNTS, dtype=dtype).repeat_interleave(EACH).expand(n, -1) / GAIN
    x = langevin(
        Problem(PRIOR, Identity(Poisson(GAIN)), y), torch.full_like(y, centre),
        torch.tensor(variance).double(), Streams.count(0, n), iterations=30,
    )  # fmt: skip
    for counts, found in zip(COUNTS, x.double().reshape(n, 3, EACH).unbind(1), strict=True):
        mean, spread = moments(counts, centre, variance)
        # 4000 draws: 0.016 for the mean; 0.011 for the spread of a Gaussian, 0.022 of exp(−λ)
        assert float(found.mean() - mean) / spread == pytest.approx(0, abs=0.08)
        assert float(found.std()) / spread == pytest.approx(1, abs=0.09)


def test_a_mosaic_of_dark_elements_is_drawn_like_elements_of_their_own() -> None:
    n, side = 4, 24
    keep = (torch.arange(side * side) % 2).reshape(side, side)

    def mosaic(x: torch.Tensor) -> torch.Tensor:
        return torch.where(keep == 1, x[:, 0], 2 * x[:, 1])[:, None]

    operator = FromFunction(mosaic, shape=(2, side, side), likelihood=Poisson(GAIN))
    y = torch.zeros(n, 1, side, side, dtype=torch.float64)
    x = langevin(
        Problem(PRIOR, operator, y), torch.full((n, 2, side, side), 0.002).double(),
        torch.tensor(1e-4).double(), Streams.count(0, n), iterations=30,
    )  # fmt: skip
    mean, spread = moments(0, 0.002, 1e-4)
    seen = x[:, 0][:, keep == 1]
    assert float(seen.mean() - mean) / spread == pytest.approx(0, abs=0.15)
    assert float(seen.std()) / spread == pytest.approx(1, abs=0.15)
    unseen = x[:, 0][:, keep == 0]  # 1152 draws of N(c, r²)
    assert float(unseen.std()) == pytest.approx(1e-2, rel=0.1)


@pytest.mark.parametrize(
    "likelihood", [Poisson(50.0), Laplace(0.1), Quantised(0.2, 0.02)], ids=repr
)
def test_a_draw_does_not_depend_on_its_neighbours(likelihood) -> None:
    operator = Mask(torch.arange(6) % 2, likelihood)
    y = operator.measure(torch.rand(3, 6, dtype=torch.float64))
    centre, variance = torch.rand(3, 6, dtype=torch.float64), torch.tensor(0.04).double()
    keys = [4, 9, 2]
    problem = Problem(PRIOR, operator, y)
    whole = langevin(problem, centre, variance, Streams(5, keys), iterations=10)
    alone = langevin(problem.select([1]), centre[1:2], variance, Streams(5, [9]), iterations=10)
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-10, atol=1e-10)


SEPARATE = {
    "identity": (Identity(), 6),
    "mask": (Mask(torch.arange(6) % 2), 6),
    "rows of one entry, some of one element": (
        Matrix(torch.tensor([[2.0, 0, 0], [-1, 0, 0], [0, 0, 3], [0, 0, 0]])), 3
    ),
    "every other element": (FromFunction(lambda x: x[:, ::2], shape=(6,)), 6),
}  # fmt: skip
MIXING: dict[str, Linear] = {
    "blur": Convolve(torch.tensor([1.0, 2, 1]) / 4, (6,), "circular"),
    "averages": Downsample(2, (6,), "box"),
    "one row of two": Matrix(torch.eye(6) + torch.eye(6).roll(1, 0) * (torch.arange(6) == 4)),
    "a difference": Matrix(torch.tensor([[1.0, -1, 0, 0, 0, 0]])),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_what_each_element_is_told_is_added_up_where_no_number_sees_two(name: str) -> None:
    operator, size = SEPARATE[name]
    x = torch.zeros(2, size)
    matrix = operator(torch.eye(size))  # row i: what element i does
    gather = gathering(operator, x)
    assert gather is not None
    values = torch.rand(2, matrix.shape[1])
    torch.testing.assert_close(gather(values), values @ (matrix != 0).float().mT)


@pytest.mark.parametrize("name", MIXING)
def test_operators_that_mix_elements_are_not_taken_apart(name: str) -> None:
    assert gathering(MIXING[name], torch.zeros(1, 6)) is None


def test_complex_data_are_not_taken_apart() -> None:
    operator = Fourier(axes=1, likelihood=Noise(0.1))
    assert gathering(operator, torch.zeros(1, 6, dtype=torch.complex64)) is None
