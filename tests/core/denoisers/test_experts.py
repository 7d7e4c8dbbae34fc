"""Products and mixtures of denoisers of tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import MarkovChain, MixtureOfExperts, ProductOfExperts, TokenNetwork
from sfumato.denoisers.experts import mixture_weights, product_weights
from sfumato.errors import InvalidOptionError
from sfumato.processes import Absorbing, Uniform

K = 4


def chain(seed: int) -> MarkovChain:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(K, generator=generator, dtype=torch.float64)
    step = torch.rand(K, K, generator=generator, dtype=torch.float64) ** 2
    return MarkovChain(Absorbing(K), first / first.sum(), step / step.sum(dim=1, keepdim=True))


def says(p: list[float]) -> TokenNetwork:
    logits = torch.tensor(p).log()
    return TokenNetwork(lambda ids, *_: logits.expand(*ids.shape, K), Absorbing(K))


HIDDEN = torch.full((1, 1), K)
HALF = Absorbing(K).level(0.5)


def test_a_product_adds_weighted_log_beliefs() -> None:
    p, q = [0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1]
    found = ProductOfExperts((says(p), says(q)), (0.5, 1.5))(HIDDEN, HALF).probs[0, 0]
    expected = torch.tensor(p) ** 0.5 * torch.tensor(q) ** 1.5
    assert torch.allclose(found, expected / expected.sum(), atol=1e-6)


def test_a_mixture_averages_beliefs() -> None:
    p, q = [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]
    found = MixtureOfExperts((says(p), says(q)), (3, 1))(HIDDEN, HALF).probs[0, 0]
    assert torch.allclose(found, 0.75 * torch.tensor(p) + 0.25 * torch.tensor(q), atol=1e-6)


def test_one_expert_with_weight_one_is_itself() -> None:
    own, x = chain(0), torch.tensor([[K, 1, K, K, 2]])
    t = own.process.level(0.5)
    product = ProductOfExperts((own, chain(1)), (1.0, 0.0))
    assert torch.allclose(product(x, t).log_probs, own(x, t).log_probs, atol=1e-12)


def test_what_one_expert_excludes_the_product_excludes() -> None:
    found = ProductOfExperts((says([0.5, 0.5, 0, 0]), says([0, 0.1, 0.2, 0.7])))(HIDDEN, HALF)
    assert found.probs[0, 0].tolist() == [0, 1, 0, 0]


def test_experts_that_exclude_each_other_are_mixed() -> None:
    product = ProductOfExperts((says([1, 0, 0, 0]), says([0, 0, 0, 1])), (1.0, 3.0))
    assert torch.allclose(product(HIDDEN, HALF).probs[0, 0], torch.tensor([0.25, 0, 0, 0.75]))


def test_what_is_visible_stays_certain() -> None:
    x = torch.tensor([[2, K, 0]])
    for kind in (ProductOfExperts, MixtureOfExperts):
        p = kind((chain(0), chain(1)), (0.7, 0.6))(x, HALF).probs
        assert p[0, 0].argmax() == 2
        assert p[0, [0, 2]].max(dim=-1).values.tolist() == [1, 1]


def drawn(log_probs: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(log_probs.exp(), 1, generator=generator).squeeze(-1)


def opinions(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    logits = 2 * torch.randn((2, n, K), generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=-1)


def test_fitted_product_weights_are_those_that_made_the_data() -> None:
    beliefs = opinions(20_000)
    truth = drawn((0.4 * beliefs[0] + 0.9 * beliefs[1]).log_softmax(dim=-1), 1)
    # Fisher information is the variance of ln p_k under the product, about 2 here: s.e. 0.005
    assert product_weights(beliefs, truth) == pytest.approx((0.4, 0.9), abs=0.03)


def test_fitted_mixture_weights_are_those_that_made_the_data() -> None:
    beliefs = opinions(20_000)
    truth = drawn((0.3 * beliefs[0].exp() + 0.7 * beliefs[1].exp()).log(), 2)
    assert mixture_weights(beliefs, truth) == pytest.approx((0.3, 0.7), abs=0.03)


def test_a_useless_expert_gets_no_weight() -> None:
    beliefs = opinions(5_000)
    truth = drawn(beliefs[0], 3)
    found = product_weights(beliefs, truth)
    assert found[0] == pytest.approx(1, abs=0.06)
    assert found[1] < 0.06


def test_experts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="same tokens"):
        ProductOfExperts((chain(0), MarkovChain(Uniform(K), *tables())))
    with pytest.raises(InvalidOptionError, match="one for each"):
        ProductOfExperts((chain(0), chain(1)), (1.0,))
    with pytest.raises(InvalidOptionError, match="one for each"):
        MixtureOfExperts((chain(0),), (-1.0,))


def tables() -> tuple[Tensor, Tensor]:
    return torch.full((K,), 1 / K).double(), torch.full((K, K), 1 / K).double()


def test_a_product_takes_time_if_a_consulted_expert_does() -> None:
    timed = TokenNetwork(lambda ids, *_: torch.zeros(*ids.shape, K), Absorbing(K), "time")
    still = says([0.25] * 4)
    assert ProductOfExperts((timed, still)).takes_time
    assert not ProductOfExperts((timed, still), (0.0, 1.0)).takes_time
