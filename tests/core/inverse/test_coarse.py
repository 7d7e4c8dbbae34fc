"""Where sampling starts: lower where y shows all that is coarse."""

from __future__ import annotations

import pytest
import torch

from sfumato.denoisers import GaussianPrior
from sfumato.inverse import registry
from sfumato.inverse.coarse import shows_coarse
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.guided import Guided
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian
from sfumato.samplers.base import Step

SIZE, CHANNELS = 64, 3


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


def problem(operator: Linear, size: int = SIZE, batch: int = 2) -> Problem:
    x = torch.zeros(batch, CHANNELS, size, size)
    prior = GaussianPrior(Gaussian(EDM()), torch.zeros(x.shape[1:]), torch.full(x.shape[1:], 0.25))
    return Problem(prior, operator, operator(x))


@pytest.mark.parametrize(
    ("operator", "shown"),
    [
        pytest.param(Identity(Noise(0.1)), True, id="a little noise"),
        pytest.param(downsample(2), True, id="×2"),
        pytest.param(downsample(4, 0.01), True, id="×4"),
        pytest.param(downsample(8), False, id="×8"),
        pytest.param(downsample(4, 0.4), False, id="×4, much noise"),
        pytest.param(blur(1.6), True, id="mild blur"),
        pytest.param(blur(12), False, id="wide blur"),
        pytest.param(mask(0.95), True, id="a few elements missing"),
        pytest.param(mask(0.5), False, id="half of the elements missing"),
        pytest.param(channel_lost(), False, id="one channel missing"),
    ],
)
def test_coarse_structure_is_shown_by_what_keeps_waves_of_every_channel(
    operator: Linear, shown: bool
) -> None:
    assert shows_coarse(problem(operator)) is shown


def test_states_without_room_for_a_wave_show_nothing_coarse() -> None:
    assert not shows_coarse(problem(Identity(Noise(0.01)), size=8))
    prior = GaussianPrior(Gaussian(EDM()), torch.zeros(64), torch.ones(64))
    assert not shows_coarse(Problem(prior, Identity(Noise(0.01)), torch.zeros(1, 64)))


def levels(operator: Linear, **options: float | None) -> dict[float, int]:
    """Number of draws of ``proximal`` at each σ/α."""
    solver, case = registry.make("proximal", **options), problem(operator, batch=1)
    assert isinstance(solver, Guided)
    at, draws = [solver.span(case)[1]], []

    def note(step: Step) -> None:
        at.append(round(step.level.ratio.item(), 3))
        draws.append(len(step.estimates))

    solver(case, Streams.count(0, 1), callback=note)
    assert at.pop() == 0
    return dict(zip(at, draws, strict=True))


def test_proximal_starts_lower_with_fewer_steps_of_the_same_size() -> None:
    near, far = list(levels(downsample(4))), list(levels(downsample(8)))
    assert [near[0], far[0], near[-1], far[-1]] == [1.0, 5.0, 0.02, 0.02]
    assert [len(near), len(far)] == [8, 11]
    assert near[0] / near[1] == pytest.approx(far[0] / far[1], rel=0.01)


def test_the_lowest_levels_of_proximal_have_one_draw() -> None:
    counts = levels(downsample(4))
    assert [ratio for ratio, count in counts.items() if count == 1] == [0.035, 0.02]
    assert {count for ratio, count in counts.items() if ratio > 0.04} == {3}


def test_a_start_below_that_for_coarse_structure_is_kept() -> None:
    assert next(iter(levels(downsample(4), start=0.5))) == 0.5
    assert next(iter(levels(downsample(4), coarse_start=None, steps=3))) == 5.0


def test_the_start_needs_both_ends_of_the_grid() -> None:
    guide = registry.make("proximal")
    assert isinstance(guide, Guided)
    whole = Guided(guide.guide, guide.sampler, steps=5, start=5.0, coarse_start=1.0)
    assert whole.span(problem(downsample(4))) == (5, 5.0)
