"""Laws of training on tokens: it reaches the optimum, and how a run is cut does not matter."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from sfumato.codecs import Affine
from sfumato.denoisers import MarkovChain, ProductOfExperts, TokenNetwork
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, Uniform
from sfumato.training import TrainConfig, checkpoint, loop
from sfumato.training.configs import TokenLossName
from sfumato.training.experts import fit_experts
from sfumato.training.loops import accelerate
from sfumato.training.token_losses import TOKEN_LOSSES
from sfumato.training.validation import pictures, validate

K, L = 3, 4
INITIAL = torch.tensor([0.5, 0.3, 0.2]).double()
TRANSITION = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]]).double()
STATES = torch.tensor(list(itertools.product(range(K), repeat=L)))
CHANCES = torch.stack(
    [INITIAL[STATES[:, 0]], *(TRANSITION[STATES[:, i], STATES[:, i + 1]] for i in range(L - 1))]
).prod(dim=0)
ENTROPY = float(torch.special.entr(CHANCES).sum())
ENDS = CHANCES.cumsum(dim=0)[:-1].tolist()


@dataclass(frozen=True)
class Chains:
    """Endless draws of a Markov chain, as they are or padded by one place."""

    count: int = 5000
    padded: bool = False

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> Tensor | Mapping[str, Any]:
        x = STATES[bisect.bisect(ENDS, float(torch.rand(1, generator=generator).double()))]
        if not self.padded:
            return x
        return {"x": torch.cat([x, x[:1]]), "valid": torch.arange(L + 1) < L}

    def validation(self) -> Chains:
        return Chains(500)


class Dense(nn.Module):
    """Logits of every place from the states of all places, by one hidden layer."""

    def __init__(self, states: int = K + 1, *, timed: bool = False, blind: bool = False) -> None:
        super().__init__()
        self.states, self.blind = states, blind
        width = L * states + timed
        self.inside = nn.ModuleList(nn.Linear(width, 64) for _ in range(L))
        self.outside = nn.ModuleList(nn.Linear(64, K) for _ in range(L))

    def forward(self, ids: Tensor, valid: Tensor, t: Tensor | None = None) -> Tensor:
        hot = nn.functional.one_hot(ids[:, :L], self.states).float()
        rows = []
        for place, (inside, outside) in enumerate(zip(self.inside, self.outside, strict=True)):
            seen = hot.clone()
            if self.blind:
                seen[:, place] = 0
            told = seen.flatten(1) if t is None else torch.cat([seen.flatten(1), t[:, None]], dim=1)
            rows.append(outside(inside(told).relu()))
        logits = torch.stack(rows, dim=1)
        extra = ids.shape[1] - L
        return nn.functional.pad(logits, (0, 0, 0, extra)) if extra else logits


CONFIG = TrainConfig(
    steps=400, batch=64, lr=1e-2, warmup=10, low_discrepancy=True, ema=0.98, validation_items=500
)


def trained(denoiser: TokenNetwork, config: TrainConfig = CONFIG, **more: Any) -> list[Any]:
    found = list(loop(denoiser, Chains(), config, **more))
    with torch.no_grad():
        found[-1].state.ema.write(found[-1].state.ema.average)
    return found


def test_every_loss_has_a_name_in_the_settings() -> None:
    assert set(get_args(TokenLossName)) == {"", *TOKEN_LOSSES}


@pytest.mark.slow
def test_the_loss_reaches_the_entropy_of_the_data() -> None:
    denoiser = TokenNetwork(Dense(), Absorbing(K))
    losses = [step.loss for step in trained(denoiser)]
    late = torch.tensor(losses[-150:]).double() * L
    four_sigma = 4 * float(late.std()) / math.sqrt(len(late))
    assert float(late.mean()) > ENTROPY - four_sigma  # a bound does not lie below
    assert float(late.mean()) < ENTROPY + 0.06 + four_sigma


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "clock", "loss", "blind"),
    [
        (Absorbing(K), "", "infilling", False),
        (Absorbing(K), "", "infilling", True),
        (Absorbing(K), "", "masked", False),
        (Uniform(K), "time", "cross-entropy", False),
    ],
    ids=["infilling", "blind", "masked", "uniform"],
)
def test_training_finds_the_posterior(
    process: Categorical, clock: str, loss: Any, blind: bool
) -> None:
    denoiser = TokenNetwork(Dense(process.states, timed=bool(clock), blind=blind), process, clock)
    trained(denoiser, replace(CONFIG, token_loss=loss))
    exact = MarkovChain(process, INITIAL, TRANSITION)
    hidden = K if process.mask else 0
    rows = [[hidden, 1, 2, 1], [0, hidden, hidden, 2], [0, 0, hidden, hidden], [hidden] * L]
    x_t = torch.tensor(rows)
    t = process.level(torch.full((len(x_t),), 0.5))
    with torch.no_grad():
        error = (denoiser(x_t, t).probs - exact(x_t, t).probs).abs()
    assert float(error.max()) < 0.2
    assert float(error[x_t == hidden].mean()) < 0.04


def test_a_resumed_run_equals_the_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=8, muon=0.02, token_loss="infilling")
    straight = TokenNetwork(Dense(), Absorbing(K))
    start = {name: v.clone() for name, v in straight.network.state_dict().items()}  # type: ignore[union-attr]
    whole = list(loop(straight, Chains(), config))
    cut = TokenNetwork(Dense(), Absorbing(K))
    cut.network.load_state_dict(start)  # type: ignore[union-attr]
    for step in loop(cut, Chains(), config):
        if step.index == 4:
            checkpoint.save(step.state, tmp_path)
            break
    again = TokenNetwork(Dense(), Absorbing(K))
    rest = list(loop(again, Chains(), config, resume=tmp_path))
    assert [step.loss for step in rest] == [step.loss for step in whole[5:]]
    for name, value in again.network.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, straight.network.state_dict()[name])  # type: ignore[union-attr]


def test_accumulated_passes_equal_one_large_batch() -> None:
    losses = []
    for batch, accumulation in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        denoiser = TokenNetwork(Dense(), Absorbing(K))
        config = replace(CONFIG, steps=3, batch=batch, accumulation=accumulation)
        losses.append([step.loss for step in loop(denoiser, Chains(), config)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_padding_changes_nothing() -> None:
    losses = []
    for padded in (False, True):
        torch.manual_seed(0)
        denoiser = TokenNetwork(Dense(), Absorbing(K))
        config = replace(CONFIG, steps=1, token_loss="cross-entropy")
        torch.manual_seed(1)
        losses.append(next(iter(loop(denoiser, Chains(padded=padded), config))).loss)
    # the noise differs, since a padded item draws more numbers; the mean over 64 items does not
    assert losses[1] == pytest.approx(losses[0], abs=0.25)
    assert losses[1] < 1.5 * losses[0]


def test_tokens_that_are_never_data_are_shown_and_not_learnt() -> None:
    seen: list[Tensor] = []

    class Watching(Dense):
        def forward(self, ids: Tensor, valid: Tensor, t: Tensor | None = None) -> Tensor:
            seen.append(ids)
            return super().forward(ids, valid, t)

    denoiser = TokenNetwork(Watching(), Absorbing(K), suppressed=(0,))
    step = next(iter(loop(denoiser, Chains(), replace(CONFIG, token_loss="masked", steps=1))))
    assert math.isfinite(step.loss)
    clean = torch.stack([Chains().item(0, torch.Generator()) for _ in range(1)])  # type: ignore[arg-type]
    assert seen[0].shape[1] == clean.shape[1]
    assert bool((seen[0] == 0).any())


@pytest.mark.slow
def test_validation_and_samples_work_as_for_signals() -> None:
    denoiser = TokenNetwork(Dense(), Absorbing(K))
    before, after = (0.0, 0.0)
    with torch.no_grad():
        before = validate(denoiser, Chains(), CONFIG, codec=Affine(), accelerator=accelerate())
    trained(denoiser)
    after = validate(denoiser, Chains(), CONFIG, codec=Affine(), accelerator=accelerate())
    assert after < before
    assert after * L == pytest.approx(ENTROPY, abs=0.25)
    drawn = pictures(denoiser, Chains(), replace(CONFIG, samples=5), codec=Affine())
    assert drawn.shape == (5, L)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < K


def test_wrong_tokens_are_refused_before_they_reach_the_network() -> None:
    class Wrong(Chains):
        def item(self, index: int, generator: torch.Generator) -> Tensor:
            return torch.tensor([0, 1, K, 1])

    class Fractions(Chains):
        def item(self, index: int, generator: torch.Generator) -> Tensor:
            return torch.rand(L, generator=generator)

    denoiser = TokenNetwork(Dense(), Absorbing(K))
    with pytest.raises(InvalidOptionError, match="this prior knows 0 to 2"):
        next(iter(loop(denoiser, Wrong(), CONFIG)))
    with pytest.raises(InvalidOptionError, match="whole numbers"):
        next(iter(loop(denoiser, Fractions(), CONFIG)))


def test_experts_are_weighted_by_what_they_know() -> None:
    good = MarkovChain(Absorbing(K), INITIAL, TRANSITION)
    poor = MarkovChain(Absorbing(K), torch.full((K,), 1 / K).double(), TRANSITION.flip(0))
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.stack([Chains().item(i, generator) for i in range(600)])  # type: ignore[misc]
    fitted = fit_experts(ProductOfExperts((poor, good)), x_0, Streams.count(0, len(x_0)))
    assert fitted.weights[0] < 0.1
    assert fitted.weights[1] == pytest.approx(1, abs=0.1)
