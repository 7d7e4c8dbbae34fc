"""The verbs, end to end, on a prior that is known in closed form.

A network whose last layer is zero predicts nothing, so EDM preconditioning makes it the exact
denoiser of white Gaussian data with the stated spread, and its variance head that of x₀ given x_t.
"""

from __future__ import annotations

import inspect
import math

import pytest
import torch

import sfumato as sf
from sfumato.codecs import Affine
from sfumato.errors import (
    InvalidOptionError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
    UnsupportedError,
)
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.operators import FromFunction
from sfumato.inverse.standard import Identity, Mask
from sfumato.inverse.tokens.clamp import Clamp
from sfumato.priors import Prior
from sfumato.samplers.tokens import Ancestral
from sfumato.signatures import Reconstructing, Sampling

SPREAD, SHIFT, SCALE = 0.5, 0.3, 0.4
OPTIONS = {"channels": 1, "widths": (4,), "blocks": (1,), "variance": True, "embedding": 8}


def white(**options: object) -> Prior:
    return Prior.new(
        "image", "unet", shape=(1, None, None), codec=Affine(SHIFT, SCALE), spread=SPREAD,
        head="variance", options=OPTIONS | options,
    )  # fmt: skip


def posterior(y: torch.Tensor, sigma: float) -> tuple[torch.Tensor, float]:
    """Mean and standard deviation for y = x + σ n, in physical units."""
    prior = (SCALE * SPREAD) ** 2
    weight = prior / (prior + sigma**2)
    return SHIFT + weight * (y - SHIFT), sigma * math.sqrt(weight)


@pytest.mark.parametrize("sigma", [0.05, 0.2])
@pytest.mark.parametrize("solver", ["auto", "proximal", "mmps"])
def test_samples_are_those_of_the_posterior_in_physical_units(solver: str, sigma: float) -> None:
    y = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    options = {"inflation": 1.0} if solver == "proximal" else {}
    result = sf.reconstruct(
        white(), Identity(Noise(sigma)), y, n=24, solver=solver, steps=20, options=options
    )
    mean, sd = posterior(y[0], sigma)
    error = (result.mean - mean) / sd
    limit = 5 / math.sqrt(24 * y.numel())
    assert abs(error.mean().item()) < limit + 0.02
    assert result.std.square().mean().sqrt().item() == pytest.approx(sd, rel=0.08)


def test_a_measurement_of_many_numbers_has_a_consistent_residual() -> None:
    prior = white()
    x = sf.sample(prior, n=1, shape=(1, 32, 32), seed=3)
    operator = Identity(Noise(0.1))
    result = sf.reconstruct(prior, operator, operator.measure(x), n=4, steps=20)
    assert result.consistent


def test_an_item_of_a_batch_is_the_same_item_alone() -> None:
    prior, operator = white(), Mask(torch.tensor([[1.0, 0.0]]).repeat(8, 4), Noise(0.1))
    y = operator.measure(torch.rand(3, 1, 8, 8))
    whole = sf.reconstruct(prior, operator, y, n=3, steps=3, batch=4)
    alone = sf.reconstruct(prior, operator, y[1:2], n=3, steps=3, first=1)
    fewer = sf.reconstruct(prior, operator, y[1:2], n=2, steps=3, first=1)
    assert whole.samples.shape == (3, 3, 1, 8, 8)
    torch.testing.assert_close(whole.samples[1], alone.samples, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone.samples[:2], fewer.samples, rtol=1e-5, atol=1e-6)


def test_the_units_of_the_data_do_not_matter() -> None:
    operator, y = Identity(Noise(0.1)), torch.rand(1, 1, 8, 8)
    first = sf.reconstruct(white(), operator, y, n=2, steps=4)
    prior = Prior.new(
        "image", "unet", shape=(1, None, None), codec=Affine(10 * SHIFT - 3, 10 * SCALE),
        spread=SPREAD, head="variance", options=OPTIONS,
    )  # fmt: skip
    other = sf.reconstruct(prior, Identity(Noise(1.0)), 10 * y - 3, n=2, steps=4)
    torch.testing.assert_close((other.samples + 3) / 10, first.samples, rtol=1e-4, atol=1e-5)


def test_draws_of_the_prior_have_its_moments_and_their_own_streams() -> None:
    prior = white()
    x = sf.sample(prior, n=8, shape=(1, 40, 40), steps=25)
    assert x.mean().item() == pytest.approx(SHIFT, abs=5 * SCALE * SPREAD / math.sqrt(x.numel()))
    assert x.std().item() == pytest.approx(SCALE * SPREAD, rel=0.03)  # Heun, 25 steps
    alone = sf.sample(prior, n=1, shape=(1, 40, 40), steps=25, first=5)
    torch.testing.assert_close(alone[0], x[5], rtol=1e-5, atol=1e-6)


def test_labels_are_checked_and_reach_the_network() -> None:
    prior = white(classes=3)
    assert sf.sample(prior, n=2, shape=(1, 8, 8), steps=2, condition={"label": 2}).shape[0] == 2
    with pytest.raises(InvalidOptionError, match="use 0 to 2"):
        sf.sample(prior, n=2, shape=(1, 8, 8), condition={"label": 3})
    with pytest.raises(InvalidOptionError, match="no classes"):
        sf.sample(white(), n=2, shape=(1, 8, 8), condition={"label": 0})


def test_the_callback_sees_the_share_of_the_work() -> None:
    seen: list[float] = []
    y = torch.rand(1, 1, 8, 8)
    sf.reconstruct(
        white(), Identity(Noise(0.1)), y, n=4, batch=2, steps=5,
        callback=lambda share, _: seen.append(share),
    )  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


Y = torch.rand(1, 1, 8, 8)
FAULTS = {
    "no samples": ({"n": 0}, InvalidOptionError, "1 sample or more"),
    "unknown solver": ({"solver": "proximl"}, UnknownNameError, "Did you mean 'proximal'"),
    "unknown option": ({"solver": "mmps", "options": {"iteration": 3}}, UnknownNameError,
        "iterations"),
    "refused solver": ({"solver": "repaint"}, UnsupportedError, "Use one of"),
    "solver of tokens": ({"solver": Clamp()}, UnsupportedError, "this one is over numbers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_done_is_refused_before_compute(fault: str) -> None:
    given, kind, words = FAULTS[fault]
    average = FromFunction(lambda x: x[..., ::2, :], (1, 16, 8), Noise(0.1))
    operator = average if fault == "refused solver" else Identity(Noise(0.1))
    with pytest.raises(kind, match=words):
        sf.reconstruct(white(), operator, Y, **given)


def test_a_sampler_of_tokens_and_an_operator_without_its_input_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="this one is over numbers"):
        sf.sample(white(), shape=(1, 8, 8), sampler=Ancestral())
    task = sf.load_plugin("image").operator("denoise")
    with pytest.raises(
        UnsupportedError, match=r"operator\.bind\(signal\)\.operator; found Denoise"
    ):
        sf.explain(task, white())


@pytest.mark.parametrize(
    ("verb", "keywords"), [(sf.reconstruct, Reconstructing), (sf.sample, Sampling)]
)
def test_type_checkers_see_the_keywords_that_a_verb_takes(verb, keywords) -> None:
    taken = {
        name: entry.annotation
        for name, entry in inspect.signature(verb).parameters.items()
        if entry.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert {name: hint.__forward_arg__ for name, hint in keywords.__annotations__.items()} == taken


def test_bad_measurements_are_refused_before_compute() -> None:
    with pytest.raises(NotFiniteError, match="1 of 64"):
        sf.reconstruct(
            white(),
            Identity(),
            Y.masked_fill(torch.eye(8, dtype=torch.bool) & (Y[0, 0, 3, 3] == Y), torch.nan),
        )
    with pytest.raises(ShapeError, match="1×any×any"):
        sf.reconstruct(white(), Identity(Noise(0.1)), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("sampler", ["dpm-solver", "unipc", "deis", "ddpm-calibrated"])
def test_a_preset_s_name_is_a_sampler_with_its_own_grid_and_steps(sampler: str) -> None:
    x = sf.sample(white(), n=30, shape=(1, 8, 8), sampler=sampler)
    mean, sd = x.mean().item(), x.std().item()
    error = 5 / math.sqrt(x.numel())
    assert mean == pytest.approx(SHIFT, abs=SCALE * SPREAD * error + 0.002)
    assert sd == pytest.approx(SCALE * SPREAD, rel=error + 0.05)


def test_a_preset_that_a_name_does_not_give_is_refused_before_compute() -> None:
    with pytest.raises(UnsupportedError, match="data to measure on"):
        sf.sample(white(), shape=(1, 8, 8), sampler="analytic-dpm")
    with pytest.raises(UnsupportedError, match="learned reverse variance"):
        sf.sample(white(), shape=(1, 8, 8), sampler="ddpm-learned")
    with pytest.raises(UnknownNameError, match="var-linear"):
        sf.sample(white(), shape=(1, 8, 8), grid="var")


def test_sampling_can_start_from_a_noised_estimate() -> None:
    estimate = torch.full((1, 8, 8), 0.6)
    start = sf.samplers.Estimated(estimate, 0.05)
    x = sf.sample(white(), n=20, shape=(1, 8, 8), sampler="ddim", start=start, steps=30)
    # the probability flow leaves δ √(v/(v + σ²)) of the estimate, here nearly all
    expected = SHIFT + SCALE * 0.6 * SPREAD / math.hypot(SPREAD, 0.05)
    assert x.mean().item() == pytest.approx(expected, abs=5 * SCALE * 0.05 / math.sqrt(x.numel()))


def test_a_grid_can_end_where_nothing_can_be_seen_any_more() -> None:
    plain, seen = [], []
    for end, states in ((None, plain), (0.06, seen)):
        sf.sample(
            white(), shape=(1, 8, 8), sampler="ddim", steps=6, end=end,
            callback=lambda _, step, states=states: states.append(step.level),
        )  # fmt: skip
    assert float(seen[-2].ratio) == pytest.approx(0.06, rel=1e-6)
    assert float(plain[-2].ratio) < 0.01
