"""Laws of plug-and-play ADMM, and of the mean that leans on it."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.codecs import Affine
from sfumato.denoisers import GaussianPrior, Preconditioned
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.evaluation.truth import LinearGaussian
from sfumato.inverse import registry
from sfumato.inverse.guides.proximal import Proximal
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.likelihoods import Laplace
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers import ADMM, Guided
from sfumato.inverse.standard import Convolve, Mask, Matrix
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import EDM, VP, Flow, Gaussian
from sfumato.samplers import Gibbs

KINDS = ("inpaint", "average", "blur")
SIZE = 24


def smooth(process: Gaussian | None = None) -> GaussianPrior:
    """Rows of pixels that vary slowly, as one picture."""
    place = torch.arange(SIZE, dtype=torch.float64)
    covariance = 0.3**2 * 0.9 ** (place[:, None] - place).abs()
    return GaussianPrior(process or Gaussian(EDM()), 0.1 * torch.ones_like(place), covariance)


def blurred(sigma: float) -> Matrix:
    place = torch.arange(SIZE, dtype=torch.float64)
    return Matrix(
        torch.softmax(-((place[:, None] - place) ** 2), dim=1)[::2], likelihood=Noise(sigma)
    )


def apart(solver: ADMM, kind: str) -> float:
    """Root mean square distance to the posterior mean, in its standard deviations."""
    known = LinearGaussian(kind)
    problem = known.problem(Gaussian(EDM()), 1, dtype=torch.float64)
    mean, covariance = known.moments
    found = solver(problem, Streams.count(0, 1))[0]
    return float(((found - mean).square() / covariance.diagonal()).mean().sqrt())


@pytest.mark.parametrize("kind", KINDS)
def test_many_steps_with_even_weights_end_at_the_mean_of_a_gaussian_posterior(kind: str) -> None:
    assert apart(ADMM(steps=400, strength=1.0, end=0.02, floor=0), kind) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_is_near_the_mean(kind: str) -> None:
    assert apart(ADMM(), kind) < 0.8


def test_without_noise_the_multiplier_does_the_work_of_many_steps() -> None:
    operator = blurred(0.0)
    x = smooth().sample(Streams.count(1, 20))
    y = operator(x)
    problem = Problem(smooth(), operator, y)
    a = operator.matrix
    place = torch.arange(SIZE, dtype=torch.float64)
    covariance = 0.3**2 * 0.9 ** (place[:, None] - place).abs()
    gain = covariance @ a.mT @ torch.linalg.inv(a @ covariance @ a.mT)
    mean = 0.1 + (y - 0.1 * a.sum(dim=1)) @ gain.mT
    errors = [
        float((ADMM(steps, multiplier=w)(problem, Streams.count(0, 20)) - mean).square().mean())
        for steps, w in ((20, 1.0), (20, 0.0), (80, 0.0))
    ]
    assert errors[0] < min(errors[1:])


@pytest.mark.parametrize("steps", [4, 8, 20])
@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.1, 0.5])
def test_it_is_stable_at_any_noise_with_few_steps(sigma: float, steps: int) -> None:
    operator = blurred(sigma)
    x = smooth().sample(Streams.count(1, 20))
    y = operator.measure(x)
    found = ADMM(steps)(Problem(smooth(), operator, y), Streams.count(0, 20))
    plain = operator.posterior_mean(
        torch.zeros_like(x), y, torch.tensor(0.3**2), torch.tensor(sigma**2)
    )
    assert (found - x).square().mean() < (plain - x).square().mean()


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=repr)
def test_it_is_the_same_under_every_process(schedule) -> None:
    operator = blurred(0.05)
    y = operator.measure(smooth().sample(Streams.count(1, 2)))
    one, other = (
        ADMM()(Problem(smooth(process), operator, y), Streams.count(0, 2))
        for process in (Gaussian(EDM()), Gaussian(schedule))
    )
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_noise_has_no_part_in_it_and_an_item_is_as_it_is_alone() -> None:
    operator = blurred(0.05)
    y = operator.measure(smooth().sample(Streams.count(1, 3)))
    problem = Problem(smooth(), operator, y)
    both = ADMM()(problem, Streams.count(0, 3))
    alone = ADMM()(problem.select([2]), Streams.count(7, 1))
    torch.testing.assert_close(both[2:], alone)


def test_without_noise_the_measurement_is_met_and_known_elements_keep_their_last_bit() -> None:
    x = smooth().sample(Streams.count(1, 2))
    operator = blurred(0.0)
    y = operator(x)
    found = ADMM()(Problem(smooth(), operator, y), Streams.count(0, 2))
    torch.testing.assert_close(operator(found), y, atol=1e-6, rtol=0)
    mask = Mask(torch.arange(SIZE) % 3 != 0)
    found = ADMM()(Problem(smooth(), mask, mask(x)), Streams.count(0, 2))
    assert torch.equal(mask(found), mask(x))


def test_the_last_step_does_not_follow_the_noise() -> None:
    x = smooth().sample(Streams.count(1, 200))
    operator = Mask(torch.ones(SIZE), Noise(0.2))
    y = operator.measure(x)
    found = ADMM()(Problem(smooth(), operator, y), Streams.count(0, 200))
    assert (found - x).square().mean() < 0.4 * (y - x).square().mean()


def test_units_of_y_do_not_matter() -> None:
    x = smooth().sample(Streams.count(1, 3))
    one, other = (
        Matrix(scale * torch.eye(SIZE, dtype=torch.float64)[::2], likelihood=Noise(scale * 0.2))
        for scale in (1.0, 50.0)
    )
    y = one.measure(x)
    found = ADMM()(Problem(smooth(), one, y), Streams.count(0, 3))
    scaled = ADMM()(Problem(smooth(), other, 50 * y), Streams.count(0, 3))
    torch.testing.assert_close(found, scaled, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.0},
        {"start": 0.05},
        {"end": 0.0},
        {"floor": -1.0},
        {"multiplier": 1.5},
        {"strength": float("nan")},
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused(options) -> None:
    with pytest.raises(InvalidOptionError, match="ADMM"):
        ADMM(**options)


def test_noise_that_is_not_gaussian_is_refused() -> None:
    operator = Mask(torch.ones(SIZE), Laplace(0.1))
    with pytest.raises(UnsupportedError, match="Gaussian"):
        ADMM()(Problem(smooth(), operator, torch.zeros(1, SIZE).double()), Streams.count(0, 1))


class Exact(torch.nn.Module):
    """What ``smooth`` believes, as a network."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, noise_label):
        exact = smooth()
        process = exact.process
        level = process.level(process.schedule.time_of(noise_label * 4))
        belief = exact(x[:, 0], level)
        return torch.stack([belief.mean, belief.variance.log().expand_as(belief.mean)], dim=1)


def reconstructed(pilot: int, n: int = 4, first: int = 0, items: int = 6, **options):
    """Results of a solver whose mean leans on a pilot of so many steps, and the truth."""
    process = Gaussian(EDM())
    prior = Prior(
        Preconditioned(Exact(), process, prediction="x0", head="variance"), Affine(), (1, SIZE)
    )
    operator = Mask(torch.arange(SIZE) % 3 == 0, Noise(0.1))
    x = smooth().sample(Streams.count(1, items))[:, None]
    y = operator.measure(x)[first:]
    solver = Guided(
        Proximal(), Gibbs(rounds=2), steps=6, start=5.0, mean_over=(0.25, 1.0), pilot_steps=pilot
    )
    result = sf.reconstruct(
        prior, operator, y, n=n, solver=solver, first=first, dtype=torch.float64, **options
    )
    return result, x[first:]


def test_the_mean_that_leans_on_a_pilot_is_nearer_and_samples_are_the_same() -> None:
    (plain, x), (leaning, _) = (reconstructed(pilot, items=40) for pilot in (0, 20))
    assert torch.equal(plain.samples, leaning.samples)
    errors = [float((r.mean - x).square().mean()) for r in (plain, leaning)]
    assert errors[1] < 0.95 * errors[0]


def test_the_pilot_is_counted_once_for_all_samples() -> None:
    plain, leaning = (reconstructed(pilot)[0] for pilot in (0, 20))
    assert leaning.nfe == plain.nfe + 20 / 4
    assert reconstructed(20, n=1)[0].nfe == plain.nfe  # one sample has nothing to judge it by


def test_neither_batches_nor_neighbours_change_the_mean() -> None:
    whole = reconstructed(20)[0]
    torch.testing.assert_close(reconstructed(20, batch=3)[0].mean, whole.mean)
    torch.testing.assert_close(reconstructed(20, first=4)[0].mean, whole.mean[4:])


def test_the_share_of_the_work_that_is_done_grows_to_one() -> None:
    seen: list[float] = []
    reconstructed(20, batch=3, callback=lambda share, _: seen.append(share))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert seen[-41] < seen[-40] < 1.0


def test_samples_of_a_point_estimate_are_computed_once_and_said_to_be_the_same() -> None:
    prior = sf.Prior.load("digits", plugin="image")
    operator = Convolve(torch.ones(3, 3) / 9, (28, 28), likelihood=Noise(0.1))
    y = operator.measure(torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    many, one = (sf.reconstruct(prior, operator, y, n=n, solver="admm", steps=3) for n in (3, 1))
    assert many.samples.shape == (2, 3, 1, 28, 28)
    assert torch.equal(many.samples, one.samples.expand(2, 3, 1, 28, 28))
    assert many.nfe == one.nfe == 3
    assert "without spread" in " ".join(many.record["notes"])
    assert not one.record["notes"]


def test_a_budget_that_has_no_room_for_a_pilot_takes_none() -> None:
    method = registry.METHODS["proximal"]
    cost, pilot = method.evaluations, dict(method.options)["pilot_steps"]
    prior = sf.Prior.load("digits", plugin="image")
    operator = Convolve(torch.ones(3, 3) / 9, (28, 28), likelihood=Noise(0.1))
    y = torch.zeros(1, 1, 28, 28)
    less, more = (
        sf.reconstruct(prior, operator, y, n=2, budget=budget).nfe
        for budget in (cost, cost + pilot)
    )
    assert less <= cost
    assert pilot / 2 < more <= cost + pilot
    assert more < less + pilot / 2  # its estimate lets samples start lower, with fewer steps
