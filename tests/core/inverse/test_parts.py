"""Transforms, square roots, itineraries, Langevin steps, and the adapters to deepinv."""

from __future__ import annotations

import importlib
import itertools
import math
import warnings

import pytest
import torch

from sfumato.denoisers import GaussianPrior
from sfumato.errors import MissingDependencyError, UnsupportedError
from sfumato.inverse.capabilities import abilities, capabilities, data_spread
from sfumato.inverse.conditioning import square_root
from sfumato.inverse.interop import from_deepinv, to_deepinv
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.likelihoods import Laplace, Poisson
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.langevin import langevin
from sfumato.inverse.solvers.secant import Secant
from sfumato.inverse.solvers.travel import itinerary
from sfumato.inverse.standard import Convolve, Identity, Mask, Matrix
from sfumato.inverse.transforms import (
    cosine,
    filtered,
    hartley,
    inverse_cosine,
    inverse_hartley,
)
from sfumato.noise import Streams
from sfumato.processes import Gaussian

TYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def random(*shape, dtype=torch.float64):
    return Streams.count(0, shape[0]).normal(torch.zeros(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(2, 8), (2, 5, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize(("to", "back"), [(hartley, inverse_hartley), (cosine, inverse_cosine)])
def test_transforms_are_orthonormal(dtype, shape, to, back) -> None:
    x, axes = random(*shape, dtype=dtype), tuple(range(1, len(shape)))
    c = to(x, axes)
    assert c.dtype == dtype
    torch.testing.assert_close(back(c, axes), x)
    torch.testing.assert_close(c.norm(), x.norm())


def test_the_cosine_transform_equals_its_definition() -> None:
    n, x = 7, random(2, 7)
    k, j = torch.arange(n).double()[:, None], torch.arange(n).double()
    table = torch.cos(math.pi * k * (2 * j + 1) / (2 * n)) * math.sqrt(2 / n)
    table[0] /= math.sqrt(2)
    torch.testing.assert_close(cosine(x, (1,)), x @ table.T)


def test_a_filter_of_ones_changes_nothing() -> None:
    x = random(2, 5, 6)
    torch.testing.assert_close(filtered(x, torch.ones(5, 6), (1, 2)), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_the_square_root_by_lanczos_is_the_matrix_square_root(dtype) -> None:
    a = random(6, 6, dtype=dtype)
    v = a @ a.mH + 0.1 * torch.eye(6, dtype=dtype)
    powers, basis = torch.linalg.eigh(v)
    root = basis @ torch.diag(powers.sqrt()).to(dtype) @ basis.mH
    z = random(4, 6, dtype=dtype)
    found = square_root(lambda x: x @ v.mT, z, 6)
    torch.testing.assert_close(found, z @ root.mT, rtol=1e-3, atol=1e-3)


def test_a_square_root_of_few_steps_keeps_the_expected_energy() -> None:
    v = torch.diag(torch.logspace(-4, 0, 20, dtype=torch.float64))
    z = random(400, 20)
    found = square_root(lambda x: x @ v, z, 3)
    torch.testing.assert_close((found**2).sum(1), ((z @ v) * z).sum(1))


def test_a_square_root_ends_where_the_krylov_space_does() -> None:
    z = random(3, 5)
    torch.testing.assert_close(square_root(lambda x: 4 * x, z, 4), 2 * z)
    torch.testing.assert_close(square_root(lambda x: 0 * x, z, 4), 0 * z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_a_square_root_takes_no_products_after_the_krylov_space_has_ended(dtype) -> None:
    products = []

    def scaled(x: torch.Tensor) -> torch.Tensor:
        products.append(x)
        return 4 * x

    z = random(3, 500, dtype=dtype)
    torch.testing.assert_close(square_root(scaled, z, 4), 2 * z)
    assert len(products) == 1


def test_an_itinerary_walks_every_stretch_as_often_as_asked() -> None:
    assert itinerary(4, 2, 2) == [0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4]
    assert itinerary(3, 1, 1) == [0, 1, 2, 3]
    assert itinerary(3, 2, 1) == [0, 1, 2, 3]
    steps = itinerary(10, 3, 4)
    assert sum(b > a for a, b in itertools.pairwise(steps)) == 40


@pytest.mark.parametrize("likelihood", [Laplace(0.3), Poisson(30.0)], ids=repr)
def test_langevin_steps_have_the_moments_of_their_target(likelihood) -> None:
    n, centre, variance = 150, 1.0, 0.25
    y = torch.full((n, 1), 0.7, dtype=torch.float64)
    place = torch.linspace(0.02, 3, 4001, dtype=torch.float64)[:, None]
    log_p = likelihood.log_prob(y[:1].expand_as(place), place)
    weight = (log_p - (place[:, 0] - centre) ** 2 / (2 * variance)).softmax(0)
    mean = (weight * place[:, 0]).sum()
    spread = (weight * (place[:, 0] - mean) ** 2).sum().sqrt()
    prior = GaussianPrior(Gaussian(), torch.zeros(1), torch.ones(1))
    x = langevin(
        Problem(prior, Identity(likelihood), y), torch.full((n, 1), centre).double(),
        torch.tensor(variance).double(), Streams.count(0, n), iterations=60,
    )  # fmt: skip
    assert float((x.mean() - mean).abs()) < 4 * float(spread) / n**0.5
    assert float(x.std() / spread) == pytest.approx(1.0, abs=0.25)


def test_langevin_steps_need_no_tuning_where_dark_and_bright_elements_meet() -> None:
    # rates given 30 and 30 000 counts differ a thousandfold in variance: an isotropic step that
    # suits the dark elements would not move the bright ones
    n, each, likelihood = 4, 1000, Poisson(1000.0)
    y = torch.tensor([0.03, 30.0], dtype=torch.float64).repeat_interleave(each).expand(n, -1)
    prior = GaussianPrior(Gaussian(), torch.zeros(1), torch.ones(1))
    x = langevin(
        Problem(prior, Identity(likelihood), y), torch.ones_like(y),
        torch.tensor(1e4).double(), Streams.count(0, n), iterations=30,
    )  # fmt: skip
    counts = 1000 * x.reshape(n, 2, each).movedim(1, 0).flatten(1)
    # the prior is flat on this scale, so the rate given k counts is Γ(k + 1)
    for k, found in zip((30, 30_000), counts, strict=True):
        deviation = (k + 1) ** 0.5
        assert float(found.mean() - (k + 1)) / deviation == pytest.approx(0, abs=0.12)
        assert float(found.std()) / deviation == pytest.approx(1, abs=0.12)


def test_a_secant_covariance_keeps_its_product_and_its_functions() -> None:
    u, g = random(5, 7), random(5, 7)
    g = torch.where(((u * g).sum(1) < 0)[:, None], -g, g)
    found = Secant.fit(u, g, torch.full((5,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(found(u), g)
    root = found.map(torch.sqrt)
    torch.testing.assert_close(root(root(u)), g)
    wrong = Secant.fit(u, -g, torch.full((5,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(wrong(u), 0.3 * u)


def test_capabilities_are_what_an_operator_offers() -> None:
    assert capabilities(Mask(torch.tensor([1, 0]), Noise(0.1))) == {
        "linear", "gaussian", "noisy", "mask", "places", "spectrum"
    }  # fmt: skip
    assert capabilities(Identity(Noise(0.0))) >= {"exact"}
    assert capabilities(Convolve(torch.tensor([1.0, 2, 3]), (4,))) == {
        "linear",
        "gaussian",
        "exact",
    }
    assert capabilities(Identity(Poisson(1.0))) == {
        "linear", "noisy", "mask", "places", "spectrum"
    }  # fmt: skip


def test_the_spread_of_a_prior_is_read_from_its_variance() -> None:
    prior = GaussianPrior(Gaussian(), torch.zeros(3), torch.full((3,), 0.09))
    assert abilities(prior) == {"variance", "covariance", "uneven"}
    assert data_spread(prior) == 1.0
    assert data_spread(prior, torch.zeros(2, 3)) == pytest.approx(0.3, rel=1e-3)


@pytest.fixture(scope="module")
def deepinv():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("deepinv")


def test_a_deepinv_blur_becomes_a_linear_operator_and_back(deepinv) -> None:
    kernel = torch.rand(1, 1, 3, 3)
    physics = deepinv.physics.Blur(
        kernel, padding="circular", noise_model=deepinv.physics.GaussianNoise(0.2)
    )
    operator = from_deepinv(physics, (1, 8, 8))
    x = random(2, 1, 8, 8, dtype=torch.float32)
    assert isinstance(operator, Linear)
    assert float(operator.likelihood.variance) == pytest.approx(0.04)
    torch.testing.assert_close(operator(x), physics.A(x))
    assert operator.data_shape((2, 1, 8, 8)) == (2, 1, 8, 8)
    torch.testing.assert_close(operator.adjoint(x), physics.A_adjoint(x))
    again = to_deepinv(operator)
    torch.testing.assert_close(again.A(x), operator(x))
    torch.testing.assert_close(again.A_adjoint(x), operator.adjoint(x))


def test_our_operators_are_linear_physics_of_deepinv(deepinv) -> None:
    operator = Matrix(random(3, 6).float(), (2, 3), Noise(0.1))
    physics = to_deepinv(operator)
    x = random(2, 2, 3, dtype=torch.float32)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    torch.testing.assert_close(physics.A(x), operator(x))
    torch.testing.assert_close(physics.A_adjoint(operator(x)), operator.adjoint(operator(x)))


def test_noise_that_has_no_counterpart_is_refused(deepinv) -> None:
    physics = deepinv.physics.Denoising(deepinv.physics.UniformNoise(0.1))
    with pytest.raises(UnsupportedError, match="UniformNoise"):
        from_deepinv(physics, (1, 4, 4))
    assert isinstance(from_deepinv(physics, (1, 4, 4), likelihood=Noise(0.1)), Linear)


def test_a_missing_deepinv_is_named(monkeypatch) -> None:
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match="pip install deepinv"):
        to_deepinv(Identity())
