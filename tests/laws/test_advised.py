"""A chain advised by an expert whose belief about a filling as a whole is known.

So the product of both is known by enumeration, and with enough draws it is reached.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from pretended import pretended
from torch import Tensor
from torch.nn import functional

from sfumato.denoisers import Beliefs, TokenDenoiser
from sfumato.denoisers.categorical import visible
from sfumato.denoisers.experts import ProductOfExperts
from sfumato.denoisers.markov import MarkovChain
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.factors import keyword
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.advised import Advised
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.opinions import fillings, leave_one_out
from sfumato.inverse.tokens.pools import pooled
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.processes import Absorbing, TokenLevel

K, LENGTH = 3, 5
PROCESS = Absorbing(K)
INITIAL = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
TRANSITION = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], dtype=torch.float64)
OPINION = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
CHAIN = MarkovChain(PROCESS, INITIAL, TRANSITION)

EVERY = 1e-3
"""Of n draws a filling of probability p is missed with (1 − p)ⁿ, and p (1 − p)ⁿ < 1/(e n): with
3000 draws of 27 fillings, or 9000 of 81, this is how far off the sum may be."""


@dataclass(frozen=True, eq=False)
class Same(TokenDenoiser):
    """One opinion about every place."""

    process = PROCESS
    takes_time = False
    blind: bool = False

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
        return Beliefs(visible(self.guesses(x_t, t), x_t, PROCESS))

    def guesses(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Tensor:
        return OPINION.log().to(x_t.device).expand(*x_t.shape, K)


def problem(
    known: dict[int, int], items: int, *, blind: bool = False, length: int = LENGTH
) -> TokenProblem:
    return advised(Same(blind), known, items, length)


def advised(other: TokenDenoiser, known: dict[int, int], items: int, length: int) -> TokenProblem:
    sites = torch.zeros(items, length, K, dtype=torch.float64)
    for place, token in known.items():
        sites[:, place] = -torch.inf
        sites[:, place, token] = 0
    return TokenProblem(ProductOfExperts((CHAIN, other), (1.0, 1.0)), sites)


def product(
    known: dict[int, int], chain: float, trust: float, other: MarkovChain | None = None
) -> Float[Tensor, "length tokens"]:
    """Marginals of p(x)^chain q(x)^trust given what is known, by enumeration."""
    found = torch.zeros(LENGTH, K, dtype=torch.float64)
    for x in itertools.product(range(K), repeat=LENGTH):
        if any(x[place] != token for place, token in known.items()):
            continue
        opened = [x[i] for i in range(LENGTH) if i not in known]
        opinion = OPINION[opened].prod() if other is None else likelihood(other, x)
        found[torch.arange(LENGTH), torch.tensor(x)] += (
            likelihood(CHAIN, x) ** chain * opinion**trust
        )
    return found / found.sum(dim=1, keepdim=True)


def likelihood(chain: MarkovChain, x: tuple[int, ...]) -> Tensor:
    value = chain.initial[x[0]]
    for a, b in itertools.pairwise(x):
        value = value * chain.transition[a, b]
    return value


@pytest.mark.parametrize("blind", [False, True], ids=["asked place by place", "blind"])
@pytest.mark.parametrize(("chain", "trust"), [(1.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_product_is_reached(chain: float, trust: float, blind: bool) -> None:
    known = {0: 1, 4: 2}
    solver = Advised(candidates=3000, chain=chain, trust=trust)
    found = solver(problem(known, 1, blind=blind), Streams.count(0, 1))
    assert found.marginals is not None
    assert torch.allclose(found.marginals[0], product(known, chain, trust), atol=EVERY)


def test_the_product_of_two_chains_is_reached_though_places_depend_on_each_other() -> None:
    known, other = {1: 0}, MarkovChain(PROCESS, INITIAL.flip(0), TRANSITION.flip(0))
    solver = Advised(candidates=9000, written=500, chain=0.7, trust=0.6)
    found = solver(advised(other, known, 1, LENGTH), Streams.count(0, 1))
    assert found.marginals is not None
    assert torch.allclose(found.marginals[0], product(known, 0.7, 0.6, other), atol=EVERY)


@pytest.mark.parametrize("side", [0, 1])
def test_a_filling_asked_for_place_by_place_has_its_probability(side: int) -> None:
    row, places = torch.tensor([1, 0, 0, 0, 2]), torch.tensor([False, True, True, False, False])
    pairs = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    texts = row.repeat(K * K, 1)
    texts[:, places] = pairs
    asked = fillings(CHAIN, row, places)
    exact = torch.stack([likelihood(CHAIN, tuple(x)) for x in texts.tolist()])
    exact = exact / exact.sum()
    assert torch.allclose(asked.log_prob(texts, side).exp(), exact, atol=1e-9)
    n = 4000
    u = torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    drawn = asked.draw(u, side)
    assert torch.equal(drawn[:, ~places], row[~places].expand(n, -1))
    share = functional.one_hot(drawn[:, 1] * K + drawn[:, 2], K * K).double().mean(dim=0)
    assert float((share - exact).abs().max()) < 5 * 0.5 / n**0.5


def test_sums_over_what_was_drawn_have_the_mean_of_sums_over_all() -> None:
    one = problem({0: 1, 4: 2}, 1)
    given = replace(one, denoiser=CHAIN)
    totals = []
    for seed in range(100):
        pool = pooled(Lattice(), [(Same(), 1.0)], given, (4, 2), seed=seed)
        totals.append(float((pool.log_p - pool.log_evidence - pool.log_s).exp().sum()))
    mean, error = np.mean(totals), np.std(totals) / len(totals) ** 0.5
    assert abs(mean - 1) < 5 * error
    assert error < 0.05


def test_open_places_far_from_each_other_are_solved_apart() -> None:
    length = 300
    known = {i: i % K for i in range(length) if i not in (3, 4, 290)}
    solver = Advised(candidates=500, joint=2)
    found = solver(problem(known, 2, length=length), Streams.count(0, 2))
    assert found.marginals is not None
    for places in ((3, 4), (290,)):
        others = {i: i % K for i in range(length) if i not in places}
        alone = solver(problem(others, 1, length=length), Streams.count(0, 1))
        assert alone.marginals is not None
        assert torch.allclose(found.marginals[0, places], alone.marginals[0, places], atol=1e-9)
        assert torch.equal(found.marginals[0], found.marginals[1])


def test_fillings_obey_a_machine() -> None:
    given = replace(problem({0: 1}, 4), machine=keyword("ab", "abc"))
    found = Advised(candidates=100)(given, Streams.count(0, 4))
    for row in found.x.tolist():
        assert any(pair == (0, 1) for pair in itertools.pairwise(row))


def test_samples_follow_their_marginals() -> None:
    items = 3000
    found = Advised(candidates=400)(problem({0: 1, 4: 2}, items), Streams.count(1, items))
    assert found.marginals is not None
    share = functional.one_hot(found.x, K).double().mean(dim=0)
    assert (share - found.marginals[0]).abs().max() < 5 * 0.5 / items**0.5


def test_a_single_open_place_is_corrected_exactly() -> None:
    known = {0: 1, 1: 0, 3: 2, 4: 2}
    solver = Advised(joint=0, temper=1.0, advice=1.0)
    found = solver(problem(known, 1), Streams.count(0, 1))
    assert found.marginals is not None
    assert torch.allclose(found.marginals[0], product(known, 1.0, 1.0), atol=1e-9)


def test_an_item_alone_is_the_item_in_a_batch() -> None:
    whole = problem({0: 1}, 3)
    whole.sites[1, 2] = torch.tensor([0.0, -1.0, -2.0])
    streams = [(0, 0), (1, 0), (2, 0)]
    together = Advised(candidates=50)(whole, Streams(3, streams))
    for item, key in enumerate(streams):
        alone = Advised(candidates=50)(whole.select([item]), Streams(3, [key]))
        assert torch.equal(alone.x[0], together.x[item])
        assert torch.allclose(alone.log_evidence[0], together.log_evidence[item])


def test_evaluations_are_told() -> None:
    told: list[int] = []
    x = torch.zeros(4, LENGTH, dtype=torch.long)
    places = torch.ones(LENGTH, dtype=torch.bool)
    leave_one_out(Same(blind=True), x, places, None, told.append)
    assert told == [4]


def test_it_is_the_default_where_experts_join_a_chain_and_refused_elsewhere() -> None:
    assert registry.choose(problem({}, 1))[0] == "advised"
    alone = TokenProblem(CHAIN, torch.zeros(1, LENGTH, K, dtype=torch.float64))
    assert registry.choose(alone)[0] == "lattice"
    with pytest.raises(UnsupportedError, match="other experts"):
        Advised()(alone, Streams.count(0, 1))


@pytest.mark.parametrize(
    "options", [{"candidates": 0}, {"trust": -1.0}, {"chain": 0.0}, {"temper": 0.0}, {"joint": -1}]
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError):
        Advised(**options)  # type: ignore[arg-type]


def test_draws_are_the_same_on_another_device() -> None:
    told = problem({0: 0, 4: 2}, 3)
    expected = Advised(candidates=20)(told, Streams.count(0, 3))
    with pretended() as device:
        moved = TokenProblem(told.denoiser, told.sites.to(device))
        found = Advised(candidates=20)(moved, Streams.count(0, 3))
        assert found.x.device == device
        assert torch.equal(found.x.cpu(), expected.x)
        torch.testing.assert_close(found.marginals.cpu(), expected.marginals)
