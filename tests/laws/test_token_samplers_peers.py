"""Where diffusers defines the same thing, ours does the same."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, TokenLevel, Uniform
from sfumato.samplers.tokens import (
    Ancestral,
    Confidence,
    EntropyBounded,
    PredictorCorrector,
    reveals,
    run_tokens,
    uniform,
)

K, LENGTH, N = 6, 16, 30_000


def scheduler(kind: str, **options: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    if not hasattr(diffusers, kind):
        pytest.skip(f"this diffusers has no {kind}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(diffusers, kind)(**options)


class Network(TokenDenoiser):
    """Logits that depend on all tokens, without meaning."""

    takes_time = False

    def __init__(self, process: Categorical) -> None:
        self.process = process

    def logits(self, x: Tensor) -> Tensor:
        wave = torch.arange(1, LENGTH + 1, dtype=torch.float64)
        phase = (x.double() * wave.sqrt()).sum(dim=1, keepdim=True) + wave * 2.3
        return 4 * torch.sin(phase.unsqueeze(-1) * torch.arange(1, K + 1))

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
        return Beliefs(self.logits(x_t).log_softmax(dim=-1))


class Fixed(TokenDenoiser):
    """The same belief at every place."""

    def __init__(self, process: Categorical, logits: Tensor) -> None:
        self.process, self.logits = process, logits

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
        return Beliefs(self.logits.log_softmax(dim=-1).expand(*x_t.shape, -1))


def chi2(counts: Tensor, p: Tensor) -> float:
    """χ² in standard deviations above its mean."""
    n, df = counts.sum(), len(p) - 1
    return float((((counts - n * p) ** 2 / (n * p)).sum() - df) / math.sqrt(2 * df))


@pytest.mark.parametrize(("steps", "threshold"), [(16, 0.3), (16, 0.6), (16, 2.0), (5, 2.0)])
def test_confidence_reveals_as_block_refinement_commits(steps: int, threshold: float) -> None:
    # with a threshold that is met, theirs goes on with the counts of an untouched block; ours takes
    # them from what is left. One per step is the same
    process = Absorbing(K)
    network = Network(process)
    theirs = scheduler("BlockRefinementScheduler", block_length=LENGTH)
    theirs.set_timesteps(steps)
    x = expected = torch.full((1, LENGTH), K)
    for step in range(steps):
        expected = theirs.step(
            network.logits(expected).float(), step, expected,
            mask_token_id=K, temperature=0.0, threshold=threshold,
        ).prev_sample  # fmt: skip
    found = run_tokens(
        Confidence(threshold=threshold), network, x, uniform(process, steps), Streams.count(0, 1)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0])
def test_entropy_bounds_accept_the_same_places(bound: float) -> None:
    process = Absorbing(K)
    network = Network(process)
    theirs = scheduler("EntropyBoundScheduler", entropy_bound=bound, t_max=1.0, t_min=1.0)
    theirs.set_timesteps(8)
    x = torch.full((1, LENGTH), K)
    accepted = theirs.step(network.logits(x), 0, x).accepted_index
    grid = reveals(process, LENGTH)[:2]
    found = run_tokens(EntropyBounded(bound), network, x, grid, Streams.count(0, 1))
    assert torch.equal(found < K, accepted)


@pytest.mark.parametrize("step", [0, 3, 6, 7])
def test_ancestral_steps_have_the_law_of_discrete_ddim(step: int) -> None:
    process, steps, now = Uniform(K), 8, 2
    logits = torch.linspace(-1.5, 1.5, K, dtype=torch.float64)
    theirs = scheduler("DiscreteDDIMScheduler")
    theirs.set_timesteps(steps)
    x = torch.full((1, N), now)
    moved = theirs.step(
        logits.expand(1, N, K), step, x,
        temperature=1.0, generator=torch.Generator().manual_seed(0),
    ).prev_sample  # fmt: skip
    grid = uniform(process, steps)[step : step + 2]
    found = run_tokens(Ancestral(), Fixed(process, logits), x, grid, Streams.count(0, 1))
    t, s = process.levels(grid)
    p = process.reverse(logits.log_softmax(dim=-1)[None], torch.tensor([now]), t, s)[0]
    assert chi2(torch.bincount(moved[0], minlength=K), p) < 5
    assert chi2(torch.bincount(found[0], minlength=K), p) < 5


def test_gibbs_corrections_have_the_law_of_theirs() -> None:
    process, steps, step, now = Uniform(K), 8, 4, 2
    logits = torch.linspace(-1.5, 1.5, K, dtype=torch.float64)
    theirs = scheduler("DiscreteDDIMScheduler", corrector_k=N, corrector_selection="random")
    theirs.set_timesteps(steps)
    x = torch.full((1, N), now)
    moved = theirs.step_correct(
        logits.expand(1, N, K), step, x, generator=torch.Generator().manual_seed(0)
    ).prev_sample
    s = process.level(1 - (step + 1) / steps)
    still = torch.stack([s.t, s.t])
    found = run_tokens(
        PredictorCorrector(places=N), Fixed(process, logits), x, still, Streams.count(0, 1)
    )
    others = process.leave_one_out(logits.log_softmax(dim=-1)[None], torch.tensor([now]), s)[
        0
    ].exp()
    p = s.alpha * others + (1 - s.alpha) / K
    assert chi2(torch.bincount(moved[0], minlength=K), p) < 5
    assert chi2(torch.bincount(found[0], minlength=K), p) < 5
