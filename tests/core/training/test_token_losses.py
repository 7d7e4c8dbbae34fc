"""Training losses of tokens bound −ln p, and exact beliefs are where they are smallest."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Beliefs, Condition, Informed, MarkovChain, TokenDenoiser
from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, Hybrid, Rates, Steps, TokenLevel, Uniform
from sfumato.training.token_losses import default_loss, token_loss

K, L = 3, 4


def distributions(*shape: int) -> Tensor:
    found = torch.rand(shape, generator=torch.Generator().manual_seed(3)).double() ** 2
    return found / found.sum(dim=-1, keepdim=True)


def rates() -> Tensor:
    off = distributions(K, K).fill_diagonal_(0)
    return off - off.sum(dim=1).diag()


def chain(process: Categorical) -> MarkovChain:
    return MarkovChain(process, distributions(K), distributions(K, K))


@dataclass(frozen=True, eq=False)
class Shifted(TokenDenoiser):
    """Exact beliefs moved by what a network would have to learn to be 0."""

    inner: TokenDenoiser
    theta: Tensor = field(default_factory=lambda: torch.zeros(K).double().requires_grad_())

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        exact = self.inner(x_t, t, condition).log_probs.clamp(min=-50)
        return Beliefs((exact + self.theta).log_softmax(dim=-1))


STEPPED = Steps(K, 0.8 * torch.eye(K) + 0.2 * distributions(24, K, K))
CASES: dict[str, tuple[str, Categorical]] = {
    "k-uniform": ("k-uniform", Absorbing(K)),
    "masked": ("masked", Absorbing(K)),
    "score, uniform": ("score-entropy", Uniform(K)),
    "score, hybrid": ("score-entropy", Hybrid(K, 0.5)),
    "score, rates": ("score-entropy", Rates(K, 2 * rates())),
    "variational": ("variational", Uniform(K)),
    "variational, absorbing": ("variational", Absorbing(K)),
    "variational, steps": ("variational", STEPPED),
    "cross entropy": ("cross-entropy", Uniform(K)),
    "hybrid": ("hybrid", Hybrid(K, 0.5)),
}
EVERY = pytest.mark.parametrize("case", CASES)
BOUNDS = [name for name, (kind, _) in CASES.items() if kind not in ("cross-entropy", "hybrid")]


def spread_times(process: Categorical, n: int) -> TokenLevel:
    """Times that cover [0, 1] evenly."""
    return process.level((torch.arange(n).double() + 0.5) / n)


@pytest.mark.parametrize("case", BOUNDS)
def test_the_mean_of_a_bound_over_even_times_is_the_likelihood(case: str) -> None:
    kind, process = CASES[case]
    prior, n = chain(process), 6000
    length = 1 if case == "variational, steps" else L  # few steps reveal places together
    x_0 = prior.draw((n, length), Streams.count(1, n))
    loss = token_loss(prior, x_0, spread_times(process, n), Streams.count(2, n), kind=kind)
    gap = loss + prior.log_prob(x_0)
    error = float(gap.std()) / n**0.5
    assert error < 0.15
    assert abs(float(gap.mean())) < 3 * error


@EVERY
def test_exact_beliefs_are_where_the_loss_is_smallest(case: str) -> None:
    kind, process = CASES[case]
    network, n = Shifted(chain(process)), 4000
    x_0 = network.inner.draw((n, L), Streams.count(1, n))  # type: ignore[attr-defined]
    t = spread_times(process, n)

    def losses() -> Tensor:
        return token_loss(network, x_0, t, Streams.count(2, n), kind=kind)

    each = []
    for part in losses().reshape(40, -1).mean(dim=1):
        (slope,) = torch.autograd.grad(part, network.theta, retain_graph=True)
        each.append(slope)
    slopes = torch.stack(each)
    # the sum of the slopes is 0 by itself: a shift of all is none
    error = slopes.std(dim=0) / len(slopes) ** 0.5
    assert bool((slopes.mean(dim=0).abs() < 4 * error + 1e-9).all())
    best = float(losses().mean().detach())
    with torch.no_grad():
        network.theta[0] += 1.5
        assert float(losses().mean()) > best


@EVERY
def test_places_that_do_not_exist_are_never_looked_at(case: str) -> None:
    kind, process = CASES[case]
    network = Shifted(chain(process))
    x_0 = network.inner.draw((6, L), Streams.count(1, 6))  # type: ignore[attr-defined]
    valid = torch.arange(L) < torch.tensor([4, 3, 2, 1, 4, 2]).unsqueeze(1)
    t = spread_times(process, 6)
    first, second = (
        token_loss(
            network, x_0.masked_fill(~valid, junk), t, Streams.count(2, 6), {"valid": valid},
            kind=kind,
        )
        for junk in (-100, 7)
    )  # fmt: skip
    assert torch.equal(first, second)


@EVERY
def test_the_loss_of_an_item_does_not_depend_on_its_batch(case: str) -> None:
    kind, process = CASES[case]
    prior, t = chain(process), spread_times(process, 5)
    x_0 = prior.draw((5, L), Streams.count(1, 5))
    together = token_loss(prior, x_0, t, Streams.count(2, 5), kind=kind)
    for i in range(5):
        level = process.level(t.t[i : i + 1])
        alone = token_loss(prior, x_0[i : i + 1], level, Streams.count(2, 1, first=i), kind=kind)
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("kind", ["k-uniform", "masked", "score-entropy", "variational", "hybrid"])
def test_beliefs_made_to_agree_with_what_is_visible_have_finite_gradients(kind: str) -> None:
    # such beliefs hold −∞, and 0 · ∞ must not reach a gradient
    network = Shifted(chain(Absorbing(K)))
    x_0 = network.inner.draw((16, L), Streams.count(1, 16))  # type: ignore[attr-defined]
    t = network.process.level(torch.linspace(0, 1, 16, dtype=torch.float64))
    loss = token_loss(Informed(network), x_0, t, Streams.count(2, 16), kind=kind)
    (slope,) = torch.autograd.grad(loss.sum(), network.theta)
    assert bool(torch.isfinite(loss).all())
    assert bool(torch.isfinite(slope).all())
    assert float(slope.abs().max()) > 0


def test_a_state_may_have_several_axes() -> None:
    prior = chain(Absorbing(K))
    x_0 = prior.draw((4, 2, 3), Streams.count(1, 4))
    t = spread_times(prior.process, 4)
    assert token_loss(prior, x_0, t, Streams.count(2, 4)).shape == (4,)


def test_a_process_has_a_default_and_refuses_what_it_cannot_do() -> None:
    assert default_loss(Absorbing(K)) == "k-uniform"
    assert default_loss(Uniform(K)) == default_loss(STEPPED) == "hybrid"
    prior = chain(Uniform(K))
    x_0, t = prior.draw((2, L), Streams.count(1, 2)), prior.process.level(0.5)
    with pytest.raises(UnsupportedError, match="k-uniform needs an absorbing process"):
        token_loss(prior, x_0, t, Streams.count(2, 2), kind="k-uniform")
    with pytest.raises(UnknownNameError, match="cross-entropy"):
        token_loss(prior, x_0, t, Streams.count(2, 2), kind="crossentropy")
