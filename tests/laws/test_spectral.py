"""Blur, heat and fading through the one reverse kernel, and degradations that are no noise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from scipy import fft
from torch import Tensor, nn

from sfumato.codecs import Affine
from sfumato.denoisers import Condition, Denoiser, Estimate, GaussianPrior, InBasis
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import (
    VP,
    Blur,
    Cosine,
    Cosines,
    Fade,
    Flow,
    Gaussian,
    Heat,
    Level,
    Spectral,
    Steady,
    like,
    uniform,
)
from sfumato.samplers import DDIM, DDPM, Cold, EulerMaruyama, run
from sfumato.samplers.base import weights
from sfumato.training import TrainConfig, loop
from sfumato.training.losses import denoising_loss, weight
from sfumato.training.validation import pictures

SIDE = 8
BLUR = Spectral(Cosine(), Blur((SIDE, SIDE)))
FADE = Spectral(VP(), Fade(torch.linspace(0, 9, 4).double()))


def powers() -> Tensor:
    """A field whose spectrum falls off as that of pictures does; variance ¼ in the mean."""
    n = torch.arange(SIDE, dtype=torch.float64) * math.pi / SIDE
    found = 1 / (0.01 + n[:, None] ** 2 + n**2)
    return (0.25 * found / found.mean())[None]


def field_prior(process: Gaussian) -> GaussianPrior:
    return GaussianPrior(process, torch.zeros_like(powers()), powers())


@pytest.mark.parametrize("shape", [(2, 3, 8, 5), (1, 1, 16, 16)])
def test_cosines_are_the_orthonormal_dct(shape: tuple[int, ...]) -> None:
    x = Streams.count(0, shape[0]).normal(torch.zeros(shape, dtype=torch.float64))
    u = Cosines().analyse(x)
    expected = torch.from_numpy(fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    assert torch.allclose(u, expected, atol=1e-12)
    assert torch.allclose(Cosines().synthesise(u), x, atol=1e-12)


def test_blur_is_a_gaussian_filter_of_the_width_it_says() -> None:
    process = Spectral(Cosine(), Blur((33,), floor=0.0))
    t = process.level(0.2)
    impulse = torch.zeros(1, 1, 33, dtype=torch.float64)
    impulse[..., 16] = 1
    basis = process.attenuation.basis
    seen = basis.synthesise(process.attenuation.factors(t.t) * basis.analyse(impulse))[0, 0]
    place = torch.arange(33, dtype=torch.float64) - 16
    width = 20 * math.sin(math.pi * 0.1) ** 2
    assert float((seen * place**2).sum()) == pytest.approx(width**2, rel=1e-3)
    assert float(seen.sum()) == pytest.approx(1, abs=1e-12)


def test_every_axis_has_frequencies_of_its_own_length() -> None:
    rates = Blur((3, 5)).rates[0]
    rows = (math.pi * torch.arange(3, dtype=torch.float64) / 3) ** 2
    columns = (math.pi * torch.arange(5, dtype=torch.float64) / 5) ** 2
    torch.testing.assert_close(rates, rows[:, None] + columns)


@pytest.mark.parametrize("sampler", [DDIM(), DDPM("large"), DDPM("calibrated")], ids=repr)
def test_without_blur_it_is_the_plain_process(sampler: DDIM) -> None:
    plain, blur = Gaussian(Cosine()), Spectral(Cosine(), Blur((SIDE, SIDE), sigma_max=0.0))
    grid, streams = uniform(plain, 6), Streams.count(0, 2)
    x = streams.normal(torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64))
    one = run(sampler, field_prior(plain), x, grid, Streams.count(1, 2))
    other = run(sampler, field_prior(blur), x, grid, Streams.count(1, 2))
    assert torch.allclose(one, other, atol=1e-12)


def excess(process: Spectral, prior: Tensor, steps: int, eta: float, known: float) -> float:
    """KL in nats of what the kernel makes of a field, from its own coefficients.

    Args:
        process: Of the field.
        prior: Variance of each coefficient.
        steps: Of a grid uniform in time.
        eta: Of the kernel.
        known: Share of Var[x₀ | x_t] that the kernel adds: 1 is calibrated.
    """
    levels = process.levels(uniform(process, steps)[:-1])
    variance = levels[0].alpha ** 2 * prior + levels[0].sigma ** 2
    for t, s in itertools.pairwise(levels):
        keep, carry, noise = weights(t, s, eta)
        total = t.alpha**2 * prior + t.sigma**2
        moved = keep * t.alpha * prior / total + carry
        spread = prior * t.sigma**2 / total
        variance = moved**2 * variance + keep**2 * known * spread + noise
    ratio = variance / (levels[-1].alpha ** 2 * prior + levels[-1].sigma ** 2)
    return float((ratio - 1 - ratio.log()).sum() / 2)


@pytest.mark.parametrize("steps", [2, 10, 50])
@pytest.mark.parametrize("process", [BLUR, FADE], ids=["blur", "fade"])
def test_the_kernel_with_the_conditional_variance_is_exact_at_any_number_of_steps(
    process: Spectral, steps: int
) -> None:
    prior = powers() if process is BLUR else torch.tensor([1.0, 0.5, 0.25, 0.1]).double()
    assert excess(process, prior, steps, 1.0, 1.0) < 1e-9


def test_without_it_more_steps_come_nearer() -> None:
    ddim, ddpm = (
        [excess(BLUR, powers(), n, eta, 0.0) for n in (10, 50, 250)] for eta in (0.0, 1.0)
    )
    for falling in (ddim, ddpm):
        assert falling[0] > 3 * falling[1] > 9 * falling[2]
    assert ddim[0] > 1


def test_a_sampler_runs_on_uneven_levels() -> None:
    n, prior = 3000, field_prior(BLUR)
    grid = uniform(BLUR, 4)
    start = prior.sample(Streams.count(0, n))
    x = BLUR.corrupt(start, BLUR.level(grid[0]), Streams.count(1, n).normal(start))
    x = run(DDPM("calibrated"), prior, x, grid, Streams.count(2, n))
    ratio = x.var(dim=0) / powers()
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / n)
    many = run(EulerMaruyama(), prior, x[:400], uniform(BLUR, 60), Streams.count(3, 400))
    assert torch.isfinite(many).all()


class Told(nn.Module):
    """The best ε for white data of variance v, in the space of signals; also says what it saw."""

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        self.seen = x, noise_level
        return x


def test_a_network_sees_signals_and_is_told_the_time() -> None:
    network = Told()
    denoiser = InBasis(network, BLUR, noise_label="time")
    u = Streams.count(0, 2).normal(torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64))
    t = BLUR.level(0.3)
    mean = denoiser(u, t).mean
    seen, told = network.seen
    assert torch.allclose(seen, Cosines().synthesise(u), atol=1e-12)
    assert told.tolist() == pytest.approx([0.3, 0.3])
    assert torch.allclose(t.alpha * mean + t.sigma * u, u, atol=1e-10)  # ε̂ = x_t, so Vᵀε̂ = u


def test_each_item_has_its_own_time() -> None:
    denoiser = InBasis(Told(), BLUR, noise_label="time")
    u = Streams.count(0, 2).normal(torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64))
    both = denoiser(u, BLUR.level(torch.tensor([0.2, 0.7]))).mean
    alone = denoiser(u[1:], BLUR.level(0.7)).mean
    assert torch.allclose(both[1:], alone, atol=1e-10)


@pytest.mark.parametrize("name", ["edm", "soft"])
def test_the_soft_loss_does_not_ask_for_what_is_gone(name: str) -> None:
    """Control: the usual weight does."""
    process = Spectral(VP(), Fade(torch.tensor([[0.0, 2e3]]).double()))
    bias = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    denoiser = InBasis(lambda x, _: bias.expand_as(x), process, prediction="x0")
    x_0 = torch.ones(4, 1, 2, dtype=torch.float64)
    level = process.level(torch.full((4,), 0.5).double())
    w = weight(name, denoiser, level)
    loss = denoising_loss(denoiser, x_0, level=level, noise=torch.zeros_like(x_0), w=w).error.sum()
    gradient = torch.autograd.grad(loss, bias)[0].flatten().abs()
    assert gradient[0] > 0.1
    assert (gradient[1] < 1e-12) == (name == "soft")


def test_the_soft_loss_is_the_error_of_what_is_corrupted() -> None:
    """‖C_t (x̂ − x₀)‖² per element, whatever is predicted (Daras et al., 2022, eq. 8)."""
    speeds = torch.tensor([[0.0, 1.5, 3.0]]).double()
    process = Spectral(VP(), Fade(speeds))
    blank = torch.zeros(4, 1, 3, dtype=torch.float64)
    x_0, noise = Streams.count(0, 4).normal(blank), Streams.count(1, 4).normal(blank)
    level = process.level(torch.tensor([0.2, 0.4, 0.6, 0.8]).double())
    kept = (-speeds * level.t.reshape(-1, 1, 1) ** 2).exp() * VP().alpha(level.t).reshape(-1, 1, 1)
    for prediction in ("x0", "eps"):
        denoiser = InBasis(lambda x, _: 0.3 * x, process, prediction=prediction)
        w = weight("soft", denoiser, level)
        found = denoising_loss(denoiser, x_0, level=level, noise=noise, w=w).error
        gap = kept * (denoiser(process.corrupt(x_0, level, noise), level).mean - x_0)
        torch.testing.assert_close(found, gap.square().mean(dim=(1, 2)))


class Guess(nn.Module):
    """One picture, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.zeros(1, SIDE, SIDE))

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        return self.picture.expand_as(x)


@dataclass(frozen=True)
class Ones:
    def __len__(self) -> int:
        return 8

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return torch.ones(1, SIDE, SIDE)


@pytest.mark.parametrize("name", ["uniform", "soft"])
def test_training_takes_signals_and_pictures_are_signals(name: str) -> None:
    denoiser = InBasis(Guess(), BLUR, prediction="x0")
    config = TrainConfig(
        steps=80, batch=4, lr=0.05, weight=name, times="uniform", warmup=0, samples=2,
        mixed_precision="no",
    )  # fmt: skip
    list(loop(denoiser, Ones(), config))
    shown = pictures(denoiser, Ones(), config, codec=Affine())
    assert torch.allclose(shown, torch.ones(2, 1, SIDE, SIDE), atol=0.1)


def test_settings_that_a_basis_cannot_have_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="input scale"):
        InBasis(Told(), BLUR, prediction="edm")
    with pytest.raises(InvalidOptionError, match="Spectral"):
        InBasis(Told(), Gaussian(VP()))
    with pytest.raises(InvalidOptionError, match="floor"):
        Blur((8,), floor=1.0)


@dataclass(frozen=True, eq=False)
class Guesses(Denoiser):
    """Estimates that have nothing to do with the data."""

    process: Gaussian = field(default_factory=lambda: Gaussian(Flow()))

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        return Estimate(torch.sin(7 * x_t) - float(t.t))


def worse(x: Tensor, level: Level) -> Tensor:
    """Data with a stain that grows linearly."""
    return x + like(level.t, x) * torch.linspace(-1, 1, x.shape[1]).to(x)


@pytest.mark.parametrize("rule", ["improved", "naive"])
def test_the_improved_rule_undoes_a_linear_degradation_whatever_the_estimates(rule: str) -> None:
    """Control: the naive rule returns the estimates' own errors."""
    denoiser = Guesses()
    x_0 = Streams.count(0, 3).normal(torch.zeros(3, 5, dtype=torch.float64))
    grid = torch.linspace(0.9, 0.1, 9, dtype=torch.float64)
    process = denoiser.process
    end = run(
        Cold(worse, rule), denoiser, worse(x_0, process.level(0.9)), grid, Streams.count(1, 3)
    )
    gap = float((end - worse(x_0, process.level(0.1))).abs().max())
    assert gap < 1e-12 if rule == "improved" else gap > 0.1


def test_cold_diffusion_is_ddim_where_noise_stays_the_same() -> None:
    process = Spectral(Steady(), Heat((SIDE, SIDE)))
    prior = field_prior(process)
    grid = torch.linspace(1, 0, 12, dtype=torch.float64)
    x = prior.sample(Streams.count(0, 2))
    x = process.corrupt(x, process.level(1.0), Streams.count(1, 2).normal(x))
    cold = run(Cold(), prior, x, grid[:-1], Streams.count(2, 2))
    ddim = run(DDIM(), prior, x, grid[:-1], Streams.count(2, 2))
    assert torch.allclose(cold, ddim, atol=1e-10)


def test_heat_dissipation_without_noise_collapses() -> None:
    """The samples differ in δ; from one blurred start without δ they are all the same."""
    process = Spectral(Steady(0.01), Heat((SIDE, SIDE)))
    prior, n = field_prior(process), 400
    grid = torch.linspace(1, 0, 41, dtype=torch.float64)
    one = prior.sample(Streams.count(0, 1)).expand(n, 1, SIDE, SIDE)
    x = process.corrupt(one, process.level(1.0), torch.zeros_like(one))
    fine = {}
    for noise in (0.0, 0.01, 0.0125):
        end = run(Cold(rule="naive", noise=noise), prior, x, grid, Streams.count(2, n))
        fine[noise] = float(end.var(dim=0)[0, 4:, 4:].mean() / powers()[0, 4:, 4:].mean())
    assert fine[0.0] < 1e-20
    assert 0.03 < fine[0.01] < fine[0.0125]
