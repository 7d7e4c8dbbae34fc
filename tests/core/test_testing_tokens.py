"""The laws of a denoiser of tokens catch the denoisers that break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    Beliefs,
    Condition,
    Informed,
    MarkovChain,
    TokenDenoiser,
    valid_places,
)
from sfumato.processes import Absorbing, Categorical, Hybrid, TokenLevel, Uniform
from sfumato.testing import check_token_denoiser

K = 3


@dataclass(frozen=True, eq=False)
class Network(TokenDenoiser):
    """Beliefs from how often each token occurs among the places that exist."""

    process: Categorical
    spoil: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        valid = valid_places(x_t, condition)
        counts = torch.nn.functional.one_hot(x_t, self.process.states).float()[..., :K]
        logits = (counts * valid.unsqueeze(-1)).sum(dim=1, keepdim=True).expand(counts.shape)
        log_probs = (logits + 0.1 * counts).log_softmax(dim=-1)
        return Beliefs(log_probs if self.spoil is None else self.spoil(log_probs, x_t))


def chain(process: Categorical) -> MarkovChain:
    table = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
    return MarkovChain(process, table[0], table)


@pytest.mark.parametrize(
    "denoiser",
    [
        chain(Absorbing(K)),
        chain(Hybrid(K)),
        chain(Uniform(K)),
        Network(Uniform(K)),
        Informed(Network(Absorbing(K))),
    ],
    ids=lambda d: type(d).__name__,
)
def test_a_denoiser_that_keeps_the_laws_passes(denoiser: TokenDenoiser) -> None:
    check_token_denoiser(denoiser, (6,))


def unnormalised(p: Tensor, _: Tensor) -> Tensor:
    return p + 0.1


def with_mask(p: Tensor, _: Tensor) -> Tensor:
    return torch.cat([p, p[..., :1]], dim=-1)


def mixed(p: Tensor, _: Tensor) -> Tensor:
    return (p + p.mean(dim=0)).log_softmax(dim=-1)


def counting_padding(p: Tensor, x: Tensor) -> Tensor:
    return (p * x.sum(dim=1).reshape(-1, 1, 1)).log_softmax(dim=-1)


@pytest.mark.parametrize(
    ("denoiser", "law"),
    [
        (Network(Uniform(K), unnormalised), "sum to 1"),
        (Network(Uniform(K), with_mask), "one belief for every clean token"),
        (Network(Uniform(K), mixed), "does not depend on its batch"),
        (Network(Uniform(K), counting_padding), "does not depend on padding"),
        (Network(Absorbing(K)), "Informed"),
    ],
)
def test_a_denoiser_that_breaks_a_law_is_named(denoiser: TokenDenoiser, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_token_denoiser(denoiser, (6,))
