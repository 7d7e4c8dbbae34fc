"""A chain advised by an expert that says the same of a place whatever stands elsewhere.

With such an expert the pseudo-likelihood is a likelihood, so the product of both is known by
enumeration, and weighed lattice draws have to reach it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from pretended import pretended
from torch import Tensor

from sfumato.denoisers import Beliefs, TokenDenoiser
from sfumato.denoisers.categorical import visible
from sfumato.denoisers.experts import ProductOfExperts
from sfumato.denoisers.markov import MarkovChain
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.advised import Advised, leave_one_out
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.processes import Absorbing, TokenLevel

K, LENGTH = 3, 5
PROCESS = Absorbing(K)
INITIAL = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
TRANSITION = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], dtype=torch.float64)
OPINION = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
CHAIN = MarkovChain(PROCESS, INITIAL, TRANSITION)


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


def problem(known: dict[int, int], items: int, *, blind: bool = False) -> TokenProblem:
    sites = torch.zeros(items, LENGTH, K, dtype=torch.float64)
    for place, token in known.items():
        sites[:, place] = -torch.inf
        sites[:, place, token] = 0
    return TokenProblem(ProductOfExperts((CHAIN, Same(blind)), (1.0, 1.0)), sites)


def product(known: dict[int, int], power: float) -> Float[Tensor, "length tokens"]:
    """Marginals of p(x) Π u(x_i)^power given what is known, by enumeration."""
    found = torch.zeros(LENGTH, K, dtype=torch.float64)
    for x in itertools.product(range(K), repeat=LENGTH):
        if any(x[place] != token for place, token in known.items()):
            continue
        weight = INITIAL[x[0]]
        for a, b in itertools.pairwise(x):
            weight = weight * TRANSITION[a, b]
        opened = [x[i] for i in range(LENGTH) if i not in known]
        weight = weight * OPINION[opened].prod() ** power
        found[torch.arange(LENGTH), torch.tensor(x)] += weight
    return found / found.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("blind", [False, True], ids=["asked place by place", "blind"])
@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_weighed_draws_reach_the_product(trust: float, blind: bool) -> None:
    known, candidates = {0: 1, 4: 2}, 6000
    solver = Advised(candidates=candidates, trust=trust)
    found = solver(problem(known, 1, blind=blind), Streams.count(0, 1))
    assert found.marginals is not None
    off = (found.marginals[0] - product(known, trust / (LENGTH - len(known)) ** 0.5)).abs().max()
    # weights are at most 7 to a place, so this is more than four standard errors
    assert off < 5 * 3 / (2 * candidates**0.5)


def test_samples_follow_their_marginals() -> None:
    items = 3000
    found = Advised(candidates=400)(problem({0: 1, 4: 2}, items), Streams.count(1, items))
    assert found.marginals is not None
    share = torch.nn.functional.one_hot(found.x, K).double().mean(dim=0)
    assert (share - found.marginals[0]).abs().max() < 5 * 0.5 / items**0.5


def test_a_single_open_place_is_corrected_exactly() -> None:
    known = {0: 1, 1: 0, 3: 2, 4: 2}
    solver = Advised(joint=0, temper=1.0, advice=1.0)
    found = solver(problem(known, 1), Streams.count(0, 1))
    assert found.marginals is not None
    assert torch.allclose(found.marginals[0], product(known, 1.0), atol=1e-9)


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
    "options", [{"candidates": 0}, {"trust": -1.0}, {"temper": 0.0}, {"joint": -1}]
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
