"""Evaluations in one mirror image after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.denoisers import Estimate, GaussianPrior, Preconditioned
from sfumato.denoisers.base import Condition, Denoiser
from sfumato.denoisers.mirrored import Mirrored, mirrored
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.standard import Downsample, Mask
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian, Level
from sfumato.training import TrainConfig, finetune

SHAPE = (4, 2, 6, 8)
IMAGES = ((), (-1,), (-2,), (-1, -2))


class Leaning(Denoiser):
    """Knows up from down and left from right, wrongly: adds a ramp to what it is given."""

    process = Gaussian(EDM())

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Level, Condition]] = []
        self.ramp = torch.arange(48.0).reshape(6, 8)

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.seen.append((x_t, t, condition))
        return Estimate(
            x_t + self.ramp, variance=self.ramp.expand_as(x_t), covariance=lambda v: v * self.ramp,
            sampler=lambda streams: self.ramp + 0 * streams.normal(x_t),
        )  # fmt: skip


@pytest.mark.parametrize("phase", range(4))
def test_each_call_sees_another_image_and_its_answer_is_turned_back(phase: int) -> None:
    inner, x = Leaning(), torch.randn(SHAPE)
    level = inner.process.level(1.0)
    denoiser = Mirrored(inner, (-1, -2), [phase] * 4)
    for call in range(5):
        image = IMAGES[(call + phase) % 4]
        ramp = inner.ramp.flip(image) if image else inner.ramp
        estimate = denoiser(x, level, {"label": torch.arange(4), "map": x})
        seen, _, condition = inner.seen[-1]
        assert torch.equal(seen, x.flip(image) if image else x)
        assert condition is not None
        assert torch.equal(condition["map"], seen)
        assert torch.equal(condition["label"], torch.arange(4))
        assert torch.equal(estimate.mean, x + ramp)
        assert estimate.variance is not None
        assert torch.equal(estimate.variance, ramp.expand_as(x))
        assert estimate.covariance is not None
        assert torch.equal(estimate.covariance(x), x * ramp)
        assert torch.equal(estimate.draw(Streams.count(0, 4)), ramp.expand_as(x))


def test_items_with_phases_of_their_own_are_as_alone() -> None:
    x = torch.randn(SHAPE)
    whole = Mirrored(Leaning(), (-1, -2), [0, 1, 2, 3])
    parts = [Mirrored(Leaning(), (-1, -2), [phase]) for phase in range(4)]
    t = whole.process.level(1.0)
    for _ in range(3):
        means = whole(x, t).mean
        for item, part in enumerate(parts):
            assert torch.equal(means[item : item + 1], part(x[item : item + 1], t).mean)


def test_uneven_levels_are_turned_with_the_state() -> None:
    inner, x = Leaning(), torch.randn(SHAPE)
    sigma = torch.rand(1, 1, 6, 8, dtype=torch.float64) + 0.1
    level = Level(torch.tensor(1.1).double(), torch.ones_like(sigma), sigma)
    denoiser = Mirrored(inner, (-1,), [0, 1, 0, 1])
    denoiser(x, level)
    seen = inner.seen[-1][1].sigma
    assert torch.equal(seen[0], sigma[0])
    assert torch.equal(seen[1], sigma[0].flip(-1))


def test_a_call_for_other_items_is_refused() -> None:
    with pytest.raises(ShapeError, match="4 items"):
        Mirrored(Leaning(), (-1,), [0] * 4)(torch.zeros(1, 2, 6, 8), Leaning.process.level(1.0))


def test_only_networks_whose_data_have_mirrors_are_mirrored() -> None:
    photo, digits = (sf.Prior.load(name, plugin="image") for name in ("photo", "digits"))
    assert photo.denoiser.mirrors == (-1, -2)
    assert isinstance(mirrored(photo.sized((3, 30, 31)), [0]), Mirrored)
    assert mirrored(digits.denoiser, [0]) is digits.denoiser
    prior = GaussianPrior(Gaussian(EDM()), torch.zeros(2), torch.ones(2))
    assert mirrored(prior, [0]) is prior


@pytest.mark.parametrize("axes", [(0,), (-1, -1), (-4,)])
def test_axes_that_are_none_of_space_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOptionError, match="mirrors"):
        Preconditioned(lambda x, _: x, Gaussian(EDM()), mirrors=axes)


def test_mirrors_are_saved_and_belong_to_the_identity_of_a_prior(tmp_path: object) -> None:
    digits = sf.Prior.load("digits", plugin="image")
    turned = digits.mirrored((-1,))
    turned.save(f"{tmp_path}/turned")
    again = sf.Prior.load(f"{tmp_path}/turned")
    assert again.denoiser.mirrors == (-1,)
    assert again.hash() == turned.hash() != digits.hash()


@pytest.mark.parametrize("solver", ["proximal", "admm", "mmps", "adaptive"])
def test_a_sample_is_the_same_in_every_batch(solver: str) -> None:
    # float64: after two steps on noise mmps is far off, and rounding grows with its samples
    prior = sf.Prior.load("photo", plugin="image").to(dtype=torch.float64)
    operator = Downsample(2, (16, 16), likelihood=Noise(0.02))
    y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = 4 if solver == "admm" else 2
    options = {}
    if solver == "adaptive":  # how often it calls depends on the items, so it is not mirrored
        solver, options = "diffpir", {"sampler": "adaptive", "start": 1.0, "end": 0.1}
    whole, parts = (
        sf.reconstruct(
            prior, operator, y, n=3, solver=solver, steps=steps, batch=batch, options=options
        )
        for batch in (6, 2)
    )
    torch.testing.assert_close(whole.samples, parts.samples, atol=1e-4, rtol=1e-4)
    second = sf.reconstruct(
        prior, operator, y[1:], n=3, solver=solver, steps=steps, first=1, options=options
    )
    torch.testing.assert_close(whole.samples[1:], second.samples[None], atol=1e-4, rtol=1e-4)


def test_mirror_images_bring_the_mean_nearer_to_the_truth() -> None:
    from skimage import data

    crops = (data.chelsea()[100:, 140:], data.astronaut()[40:, 180:], data.coffee()[60:, 220:])
    squares = [torch.from_numpy(crop[:64, :64].copy()) for crop in crops]
    truth = torch.stack(squares).permute(0, 3, 1, 2).float() / 255
    kept = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    operator, prior = Mask(kept), sf.Prior.load("photo", plugin="image")
    errors = []
    for version in (prior, prior.mirrored(())):
        found = sf.reconstruct(version, operator, truth * kept, solver="admm", steps=12)
        errors.append((found.mean.reshape(truth.shape) - truth).square().mean().item())
    assert errors[0] < 0.99 * errors[1]


class Flipped:
    """Two constant pictures, said to be mirrored."""

    mirrors = (-1,)

    def __len__(self) -> int:
        return 2

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return torch.full((3, 16, 16), 0.25 + 0.5 * index)


@pytest.mark.parametrize("mirrors", [(-1,), ()])
def test_a_tuned_prior_has_the_mirrors_of_its_data(tmp_path: object, mirrors: tuple[int]) -> None:
    data = Flipped()
    data.mirrors = mirrors
    prior = sf.Prior.load("photo", plugin="image")
    config = TrainConfig(steps=1, batch=1, warmup=0)
    tuned = finetune(prior, data, out=f"{tmp_path}/run", config=config, progress=False, tracker="")
    assert tuned.denoiser.mirrors == mirrors
    assert sf.Prior.load(f"{tmp_path}/run").denoiser.mirrors == mirrors
