"""Reflow: pairs are those of the teacher's flow, and a flow that is trained on them is straight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sfumato.codecs import Affine
from sfumato.denoisers import Condition, Denoiser, Estimate, MixturePrior, Preconditioned
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.evaluation.distances import sliced_w2
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Level, Student
from sfumato.samplers import DDIM, DDPM, run
from sfumato.training import TrainConfig, loop
from sfumato.training.couplings import PARTNER, Pairs
from sfumato.training.reflow import reflow, straightness

FLOW = Gaussian(Flow())


def line(process: Gaussian) -> MixturePrior:
    means = torch.tensor([[-1.0], [0.8]], dtype=torch.float64)
    return MixturePrior(process, torch.tensor([0.4, 0.6]), means, torch.full_like(means, 0.05))


def ring(process: Gaussian = FLOW) -> MixturePrior:
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def both(pairs: Pairs) -> tuple[Tensor, Tensor]:
    generator = torch.Generator()
    items = [pairs.item(i, generator) for i in range(len(pairs))]
    return torch.stack([i["x"] for i in items]), torch.stack([i[PARTNER] for i in items])


@pytest.mark.parametrize("process", [FLOW, Gaussian(VP()), Gaussian(EDM())], ids=repr)
def test_in_one_dimension_the_pairs_are_those_of_quantiles(process: Gaussian) -> None:
    teacher = line(process)
    x, z = both(reflow(teacher, torch.zeros(1).double(), 300, batch=128))
    spread = teacher.powers[:, 0].sqrt()
    quantile = teacher.log_weights.exp() * torch.special.ndtr((x - teacher.centres[:, 0]) / spread)
    assert float((quantile.sum(dim=1) - torch.special.ndtr(z[:, 0])).abs().max()) < 0.03


@dataclass(frozen=True, eq=False)
class Interpolated(Denoiser):
    """The exact flow of pairs on a line that do not cross: x̂ of the pair that passes x_t."""

    x_0: Tensor
    x_1: Tensor
    process: Gaussian = FLOW

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        places = t.alpha * self.x_0 + t.sigma * self.x_1
        order = places.argsort()
        right = torch.searchsorted(places[order], x_t[:, 0]).clamp(1, len(order) - 1)
        a, b = order[right - 1], order[right]
        share = (x_t[:, 0] - places[a]) / (places[b] - places[a])
        return Estimate((self.x_0[a] + share * (self.x_0[b] - self.x_0[a]))[:, None])


def test_paths_of_the_pairs_do_not_cross_so_that_one_step_is_enough() -> None:
    x, z = both(reflow(line(FLOW), torch.zeros(1).double(), 2000))
    second = Interpolated(x[:, 0], z[:, 0])
    once = straightness(line(FLOW), line(FLOW).sample(Streams.count(1, 2000)), z)
    assert straightness(second, x, z) < once / 1000
    assert once > 0.1
    start = z.sort(dim=0).values[50:-50]
    found = run(DDIM(), second, start, torch.tensor([1.0, 0.0]).double(), Streams.count(0, 1900))
    torch.testing.assert_close(found, x[z[:, 0].argsort()][50:-50], rtol=0, atol=1e-6)
    shuffled = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    assert straightness(line(FLOW), shuffled, z) > once / 2  # a control: pairs permuted


def test_pairs_keep_their_labels_and_the_units_of_the_data() -> None:
    @dataclass(frozen=True, eq=False)
    class Labelled(Denoiser):
        process: Gaussian = FLOW

        def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
            assert condition is not None
            return Estimate(condition["label"][:, None].expand_as(x_t).to(x_t))

    label = torch.arange(7)
    codec = Affine(0.5, 2.0)
    pairs = reflow(Labelled(), torch.zeros(2), 7, codec=codec, condition={"label": label}, batch=3)
    item = pairs.item(4, torch.Generator())
    assert int(item["label"]) == 4
    torch.testing.assert_close(codec.encode(item["x"][None]), torch.full((1, 2), 4.0))
    z = Streams.count(0, 1, first=4).normal(torch.zeros(1, 2))
    torch.testing.assert_close(codec.encode(item[PARTNER][None]), z)


def test_what_cannot_be_reflowed_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="count=0"):
        reflow(ring(), torch.zeros(2), 0)
    with pytest.raises(UnsupportedError, match="Student"):
        reflow(ring(Student(EDM(), 3)), torch.zeros(2), 1)
    with pytest.raises(UnsupportedError, match=r"adds no noise; DDPM does"):
        reflow(ring(), torch.zeros(2), 1, sampler=DDPM())
    with pytest.raises(UnsupportedError, match="a flow"):
        straightness(ring(Gaussian(VP())), torch.zeros(1, 2), torch.zeros(1, 2))


class Net(nn.Module):
    """A velocity of two elements."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 12, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(),
            nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2),
        )  # fmt: skip

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        phase = noise_level[:, None].to(x) * torch.tensor([0.25, 0.5, 1, 2, 4, 8]).to(x)
        found: Tensor = self.layers(torch.cat([x, phase.sin(), phase.cos()], dim=1))
        return found


@pytest.mark.slow
def test_a_second_rectified_flow_is_straight_and_samples_in_one_step() -> None:
    n = 4000
    pairs = reflow(ring(), torch.zeros(2), 20_000)
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        student = Preconditioned(Net(), FLOW, "flow", noise_label="time")
    config = TrainConfig(
        steps=2500, batch=256, lr=2e-3, times="uniform", warmup=50, mixed_precision="no",
        low_discrepancy=True,
    )  # fmt: skip
    list(loop(student, pairs, config))
    held_out = reflow(ring(), torch.zeros(2), n, seed=1)
    x, z = both(held_out)
    drawn = ring().sample(Streams.count(2, n)).float()
    first, second = straightness(ring(), drawn, z), straightness(student, x, z)
    assert second < first / 20
    assert float((z - x).square().mean()) < float((z - drawn).square().mean())
    truth = ring().sample(Streams.count(3, n)).float()
    one_step = torch.tensor([1.0, 0.0]).double()
    gaps = [
        float(sliced_w2(run(DDIM(), model, z, one_step, Streams.count(4, n)), truth))
        for model in (student, ring())
    ]
    assert gaps[0] < 0.1 * gaps[1]
    assert gaps[0] < 0.08
