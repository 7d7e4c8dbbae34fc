"""Times that are drawn by the losses they had."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoisers import Preconditioned
from sfumato.errors import InvalidOptionError
from sfumato.processes import VP, Flow, Gaussian
from sfumato.training import TrainConfig, checkpoint, loop
from sfumato.training.histories import EVEN, History, Piecewise
from sfumato.training.times import LogUniform, Times, Uniform

N = 20_000
U = (torch.arange(N, dtype=torch.float64) + 0.5) / N


def filled(bins: int = 8) -> History:
    """Losses that grow with the bin, two values each."""
    history = History(bins, 2)
    for value in (1.0, 3.0):
        history.add((torch.arange(bins) + 0.5) / bins, value * (torch.arange(bins) + 1.0))
    return history


def test_bins_are_drawn_by_the_root_of_the_mean_square_of_their_losses() -> None:
    found = (filled().times().place(U) * 8).long()
    share = torch.bincount(found, minlength=8) / N
    expected = (torch.arange(8) + 1.0) / 36
    assert torch.allclose(share, expected, atol=2e-3)


def test_a_bin_without_loss_is_still_visited() -> None:
    history = History(4, length=1)
    history.add(torch.tensor([0.1, 0.3, 0.6, 0.9]), torch.tensor([0.0, 1.0, 1.0, 2.0]))
    masses = history.times().masses
    assert sum(masses) == pytest.approx(1)
    assert masses[0] == pytest.approx(EVEN / 4)
    assert masses[3] > masses[1] > masses[0]


def test_only_the_last_losses_count() -> None:
    history = filled()
    for _ in range(2):
        history.add((torch.arange(8) + 0.5) / 8, torch.ones(8))
    masses = torch.tensor(history.times().masses)
    assert torch.allclose(masses, masses.mean().expand(8))


def test_until_every_bin_has_seen_enough_times_are_drawn_evenly() -> None:
    history = History(4, 2)
    history.add(torch.tensor([0.1, 0.1, 0.4, 0.4, 0.6, 0.6, 0.9]), torch.rand(7))
    assert history.times() == Piecewise((1.0,) * 4)


@pytest.mark.parametrize("base", [Uniform(), LogUniform()], ids=repr)
@pytest.mark.parametrize("process", [Gaussian(VP()), Gaussian(Flow())], ids=repr)
def test_dividing_by_the_density_undoes_what_is_drawn(process: Gaussian, base: Times) -> None:
    """∫ f(ρ) dρ comes out the same from any distribution of times."""
    times = Piecewise((1.0, 5.0, 2.0, 0.5), base)
    means = []
    for kind in (times, base):
        t = kind.quantile(process, U)
        means.append(float((process.level(t).sigma ** 2 / kind.density(process, t)).mean()))
    assert means[0] == pytest.approx(means[1], rel=2e-3)


def test_the_variance_of_the_bound_falls() -> None:
    """Losses as unequal as those of the bound by time: the error of ε over t."""
    process = Gaussian(VP())
    history = History(32, 1)
    t = Uniform().quantile(process, (torch.arange(32).double() + 0.5) / 32)
    history.add((torch.arange(32) + 0.5) / 32, 1 / Uniform().density(process, t))
    variances = []
    for times in (Uniform(), history.times()):
        t = times.quantile(process, U)
        variances.append(float((1 / times.density(process, t)).var()))
    assert variances[1] < variances[0] / 4


@dataclass(frozen=True)
class Points:
    def __len__(self) -> int:
        return 64

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return torch.randn(1, generator=generator)


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        result: Tensor = self.layer(torch.cat([x, noise_level[:, None]], dim=1))
        return result


CONFIG = TrainConfig(
    steps=30, batch=32, weight="likelihood", times="loss-aware", warmup=0, mixed_precision="no"
)


def fresh() -> Preconditioned:
    network = Affine()
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.1)
    return Preconditioned(network, Gaussian(VP()), "eps")


def test_a_resumed_run_draws_the_times_of_the_uninterrupted_one(tmp_path) -> None:
    whole = fresh()
    for step in loop(whole, Points(), CONFIG):
        if step.index == 19:
            checkpoint.save(step.state, tmp_path)
            masses = step.state.history.times().masses
    assert max(masses) > 2 * min(masses)
    part = fresh()
    list(loop(part, Points(), CONFIG, resume=tmp_path))
    for a, b in zip(whole.network.parameters(), part.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_loss_aware_times_need_a_weight_that_divides_by_their_density() -> None:
    with pytest.raises(InvalidOptionError, match="likelihood"):
        TrainConfig(times="loss-aware")
