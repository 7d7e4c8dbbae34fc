"""What y leaves open, and where sampling starts because of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Denoiser, Estimate, GaussianPrior
from sfumato.denoisers.base import Condition
from sfumato.errors import InvalidOptionError
from sfumato.inverse import registry
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.openness import band, deviation, hole, open_deviation
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import First, Problem
from sfumato.inverse.solvers.guided import Guided
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian, Level
from sfumato.samplers.base import Step

SIZE, CHANNELS, SPREAD = 64, 3, 0.5


def blur(sigma: float) -> Convolve:
    line = torch.exp(-0.5 * (torch.arange(-30, 31).double() / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    return Convolve(kernel, (SIZE, SIZE), likelihood=Noise(0.01))


def mask(share: float, noise: float = 0.0) -> Mask:
    kept = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < share
    return Mask(kept, Noise(noise))


def channel_lost() -> Mask:
    return Mask(torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1).expand(3, SIZE, SIZE))


def downsample(factor: int, noise: float = 0.0) -> Downsample:
    return Downsample(factor, (SIZE, SIZE), "bicubic", likelihood=Noise(noise))


class Spread(GaussianPrior):
    spread = SPREAD


def problem(operator: Linear, size: int = SIZE, batch: int = 2) -> Problem:
    x = torch.zeros(batch, CHANNELS, size, size)
    var = torch.full(x.shape[1:], SPREAD**2)
    return Problem(Spread(Gaussian(EDM()), torch.zeros(x.shape[1:]), var), operator, operator(x))


def test_bands_have_unit_white_noise_of_one_octave() -> None:
    field = band(torch.zeros(1, 2, 64, 48), 8)
    assert field.shape == (1, 2, 64, 48)
    power = torch.fft.fft2(field).abs().square()
    f = (torch.fft.fftfreq(64)[:, None] ** 2 + torch.fft.fftfreq(48) ** 2).sqrt() * 8
    inside = (f >= 0.5**0.5) & (f < 2**0.5)
    assert power[..., ~inside].max() < 1e-6 * power.max()
    assert power[..., inside].mean().item() / (64 * 48) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("operator", "wavelength"),
    [
        pytest.param(downsample(2), 4, id="×2"),
        pytest.param(downsample(4, 0.01), 8, id="×4"),
        pytest.param(downsample(8), 16, id="×8"),
        pytest.param(blur(1.6), 4, id="mild blur"),
        pytest.param(blur(4), 8, id="wide blur"),
        pytest.param(mask(0.95), 2, id="single elements missing"),
        pytest.param(mask(0.5), 4, id="half of the elements missing"),
    ],
)
def test_what_is_open_are_the_wavelengths_that_are_lost(operator: Linear, wavelength: int) -> None:
    found = open_deviation(problem(operator))
    assert deviation(wavelength, SPREAD) / 1.8 < found < deviation(wavelength, SPREAD) * 1.3


def test_noise_alone_leaves_its_own_deviation_open() -> None:
    for operator in (Identity(Noise(0.1)), mask(0.5, 0.3)):
        assert open_deviation(problem(operator)) >= 0.099
    assert open_deviation(problem(Identity(Noise(0.1)))) == pytest.approx(0.1, rel=1e-6)
    assert open_deviation(problem(mask(0.5, 0.3))) == pytest.approx(0.3 * math.sqrt(2), rel=0.02)
    quiet, loud = (open_deviation(problem(downsample(4, noise))) for noise in (0.01, 0.4))
    assert loud > 1.5 * quiet


def test_a_lost_channel_is_open_at_all_wavelengths() -> None:
    assert open_deviation(problem(channel_lost())) > 5


def test_the_widest_hole_is_measured_from_its_border() -> None:
    missing = torch.zeros(1, 40, 40, dtype=torch.bool)
    missing[:, 10:17, 5:30] = True  # 7 high: its middle row is 4 from the next known one
    assert hole(missing) == 4
    missing[:] = False
    assert hole(missing) == 0
    missing[:, :, :6] = True  # at the edge there is nothing beyond
    assert hole(missing) == 6


def test_states_without_axes_are_open() -> None:
    assert open_deviation(problem(Identity(Noise(0.01)), size=4)) == math.inf
    prior = GaussianPrior(Gaussian(EDM()), torch.zeros(64), torch.ones(64))
    assert open_deviation(Problem(prior, Identity(Noise(0.01)), torch.zeros(1, 64))) == math.inf


def levels(operator: Linear, **options: float | None) -> dict[float, int]:
    """Number of draws of ``proximal`` at each σ/α."""
    solver, case = registry.make("proximal", **options), problem(operator, batch=1)
    assert isinstance(solver, Guided)
    at, draws = [solver.span(solver.lower(case))[1]], []

    def note(step: Step) -> None:
        at.append(round(step.level.ratio.item(), 3))
        draws.append(len(step.estimates))

    first = solver.prepare(case, Streams.count(0, 1), n=2)
    solver(
        Problem(case.denoiser, operator, case.y, first=first), Streams.count(0, 1), callback=note
    )
    assert at.pop() == 0
    return dict(zip(at, draws, strict=True))


def test_proximal_starts_lower_with_fewer_steps_of_the_same_size() -> None:
    near, far = list(levels(downsample(2))), list(levels(channel_lost()))
    assert near[0] == pytest.approx(0.8 * open_deviation(problem(downsample(2))))
    assert [far[0], near[-1], far[-1]] == [5.0, 0.02, 0.02]
    assert len(near) < 7
    assert len(far) == 11
    assert near[0] / near[1] == pytest.approx(far[0] / far[1], rel=0.1)


def test_the_lowest_levels_of_proximal_have_one_draw() -> None:
    counts = levels(channel_lost())
    assert [ratio for ratio, count in counts.items() if count == 1] == [0.035, 0.02]
    assert {count for ratio, count in counts.items() if ratio > 0.04} == {3}


def test_a_start_below_is_kept_and_no_estimate_is_made_where_none_is_needed() -> None:
    assert next(iter(levels(downsample(4), start=0.1))) == 0.1
    assert next(iter(levels(downsample(4), pilot_start=None, steps=3))) == 5.0
    assert next(iter(levels(downsample(4), pilot_steps=0, steps=3))) == 5.0
    solver = registry.make("proximal")
    assert solver.prepare(problem(channel_lost()), Streams.count(0, 2)) is None
    found = solver.prepare(problem(channel_lost()), Streams.count(0, 2), n=2)
    assert isinstance(found, First)
    assert found.start is None


def test_a_start_at_no_noise_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="pilot_start=0"):
        registry.make("proximal", pilot_start=0.0)


class Asked(Denoiser):
    """Counts how often it is asked."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.calls = inner, 0

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.calls += 1
        return self.inner(x_t, t, condition)


def test_a_solver_makes_the_estimate_that_it_is_not_given() -> None:
    case = problem(downsample(2))
    solver = registry.make("proximal")
    given = solver.prepare(case, Streams.count(0, 2))
    assert given is not None
    counts, results = [], []
    for first in (given, None):
        asked = Asked(case.denoiser)
        whole = Problem(asked, case.operator, case.y, first=first)
        results.append(solver(whole, Streams.count(0, 2)))
        counts.append(asked.calls)
    assert counts[1] - counts[0] == 32
    torch.testing.assert_close(*results)
