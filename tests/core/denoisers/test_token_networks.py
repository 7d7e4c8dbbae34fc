"""Networks as denoisers of tokens: what they may say, and how what they say becomes beliefs."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoisers import JointTable, TokenNetwork
from sfumato.errors import InvalidOptionError, ShapeError, UnknownNameError, UnsupportedError
from sfumato.processes import Absorbing, Categorical, Hybrid, Uniform

K = 5


class Neighbours(nn.Module):
    """Logits from the place itself and from the mean of the places that exist."""

    def __init__(self, outputs: int = K + 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(K + 10, 8)
        self.head = nn.Linear(16, outputs)

    def forward(self, ids: Tensor, valid: Tensor) -> Tensor:
        e = self.embed(ids)
        weight = valid.unsqueeze(-1).to(e)
        axes = tuple(range(1, ids.ndim))
        mean = (e * weight).sum(dim=axes, keepdim=True) / weight.sum(dim=axes, keepdim=True)
        return self.head(torch.cat([e, mean.expand_as(e)], dim=-1))


def states(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


def test_beliefs_are_normalised_over_the_tokens_and_never_hold_what_is_suppressed() -> None:
    denoiser = TokenNetwork(Neighbours(), Absorbing(K), suppressed=(1, 3))
    p = denoiser(states([K, K, 2]), denoiser.process.level(0.5)).probs
    assert p.shape == (1, 3, K)
    assert torch.allclose(p.sum(dim=-1), torch.ones(1, 3))
    assert bool((p[..., [1, 3]] == 0).all())
    assert bool((p[0, 0] < 1).all())


def test_in_an_absorbing_process_what_is_visible_is_certain() -> None:
    denoiser = TokenNetwork(Neighbours(), Absorbing(K))
    p = denoiser(states([4, K, 0]), denoiser.process.level(0.5)).probs
    assert p[0, 0].tolist() == [0, 0, 0, 0, 1]
    assert p[0, 2].tolist() == [1, 0, 0, 0, 0]


def test_in_other_processes_what_is_visible_stays_a_matter_of_belief() -> None:
    denoiser = TokenNetwork(Neighbours(), Uniform(K))
    p = denoiser(states([4, 1, 0]), denoiser.process.level(0.5)).probs
    assert bool((p < 1).all())


def test_what_places_that_do_not_exist_hold_and_how_many_there_are_changes_nothing() -> None:
    denoiser = TokenNetwork(Neighbours(), Absorbing(K))
    t = denoiser.process.level(0.5)
    alone = denoiser(states([2, K, 1]), t).log_probs
    for rest in ([0, 0], [K, 4], [3, 1]):
        x = states([2, K, 1, *rest])
        valid = torch.tensor([[True, True, True, False, False]])
        assert torch.equal(denoiser(x, t, {"valid": valid}).log_probs[:, :3], alone)


def test_an_item_believes_the_same_alone_and_in_a_batch() -> None:
    denoiser = TokenNetwork(Neighbours().double(), Hybrid(K), clock="")
    x = torch.randint(0, K + 1, (4, 6), generator=torch.Generator().manual_seed(1))
    t = denoiser.process.level(0.5)
    together = denoiser(x, t).log_probs
    for i in range(4):
        assert torch.allclose(denoiser(x[i : i + 1], t).log_probs[0], together[i], atol=1e-12)


def test_states_may_have_any_shape() -> None:
    denoiser = TokenNetwork(Neighbours(), Absorbing(K))
    p = denoiser(torch.full((2, 3, 4), K), denoiser.process.level(1.0)).probs
    assert p.shape == (2, 3, 4, K)


def test_mask_has_the_networks_own_number() -> None:
    seen: list[Tensor] = []

    def network(ids: Tensor, valid: Tensor) -> Tensor:
        seen.append(ids)
        return torch.zeros(*ids.shape, 12)

    TokenNetwork(network, Absorbing(K), mask_id=11)(states([K, 2]), Absorbing(K).level(0.5))
    assert seen[0].tolist() == [[11, 2]]


def test_logits_may_come_inside_an_object() -> None:
    def network(ids: Tensor, valid: Tensor) -> Any:
        return SimpleNamespace(logits=torch.zeros(*ids.shape, K))

    found = TokenNetwork(network, Absorbing(K))(states([K]), Absorbing(K).level(1.0))
    assert torch.allclose(found.probs, torch.full((1, 1, K), 1 / K))


@pytest.mark.parametrize(("clock", "expected"), [("time", [0.25, 0.5]), ("noise", [0.288, 0.693])])
def test_a_clock_tells_the_time_or_the_total_noise_of_each_item(
    clock: str, expected: list[float]
) -> None:
    told: list[Tensor] = []

    def network(ids: Tensor, valid: Tensor, when: Tensor) -> Tensor:
        told.append(when)
        return torch.zeros(*ids.shape, K)

    denoiser = TokenNetwork(network, Absorbing(K), clock=clock)
    denoiser(states([K], [K]), Absorbing(K).level(torch.tensor([0.25, 0.5])))
    assert told[0].tolist() == pytest.approx(expected, abs=1e-3)
    assert denoiser.takes_time


def test_without_a_clock_an_absorbing_network_takes_no_time() -> None:
    assert not TokenNetwork(Neighbours(), Absorbing(K)).takes_time


def test_with_right_shift_output_i_minus_1_is_about_place_i() -> None:
    logits = torch.randn(1, 4, K)
    shifted = TokenNetwork(lambda *_: logits, Absorbing(K), right_shift=True)
    found = shifted(torch.full((1, 4), K), Absorbing(K).level(1.0)).log_probs
    expected = logits.log_softmax(dim=-1)
    assert torch.equal(found[:, 1:], expected[:, :-1])
    assert torch.equal(found[:, 0], expected[:, 0])


class Blind:
    """The leave-one-out belief of a table, worked out by enumeration."""

    blind = True

    def __init__(self, table: Tensor, process: Categorical) -> None:
        self.table, self.process = table, process

    def __call__(self, ids: Tensor, valid: Tensor, t: Tensor) -> Tensor:
        logits = torch.zeros(*ids.shape, self.table.shape[0], dtype=torch.float64)
        own = self.process.log_likelihood(ids, self.process.level(t)).exp()
        length = ids.shape[1]
        for place, v in itertools.product(range(length), range(self.table.shape[0])):
            weight = self.table.select(place, v).expand(len(ids), *self.table.shape[1:]).clone()
            others = [i for i in range(length) if i != place]
            for axis, other in enumerate(others):
                shape = [1] * (length - 1)
                shape[axis] = -1
                weight = weight * own[:, other].reshape(len(ids), *shape)
            logits[:, place, v] = weight.flatten(1).sum(dim=1).log()
        return logits


@pytest.mark.parametrize("process", [Absorbing(3), Uniform(3), Hybrid(3, 0.4)], ids=repr)
def test_a_blind_network_and_bayes_rule_give_the_exact_posterior(process: Categorical) -> None:
    generator = torch.Generator().manual_seed(5)
    table = torch.rand((3, 3, 3), generator=generator, dtype=torch.float64)
    table = table / table.sum()
    exact = JointTable(process, table.log())
    denoiser = TokenNetwork(Blind(table, process), process, clock="time")
    x_t = torch.tensor(list(itertools.product(range(process.states), repeat=3)))
    t = process.level(torch.full((len(x_t),), 0.6))
    assert denoiser.blind
    assert torch.allclose(denoiser(x_t, t).probs, exact(x_t, t).probs.to(torch.float64), atol=1e-9)


def test_half_precision_answers_in_single_and_double_in_double() -> None:
    t = Absorbing(K).level(0.5)
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        denoiser = TokenNetwork(Neighbours().to(dtype), Absorbing(K))
        assert denoiser.dtype == dtype
        assert denoiser(states([K, 1]), t).log_probs.dtype == expected


def test_wrong_networks_and_options_are_named(unchecked_shapes: None) -> None:
    small = TokenNetwork(Neighbours(K - 1), Absorbing(K))
    with pytest.raises(ShapeError, match="1×2×4, expected 1×2×\\(5 or more\\)"):
        small(states([K, 1]), Absorbing(K).level(0.5))
    with pytest.raises(UnknownNameError, match="clock"):
        TokenNetwork(Neighbours(), Absorbing(K), clock="hours")
    with pytest.raises(InvalidOptionError, match="every token"):
        TokenNetwork(Neighbours(), Absorbing(K), suppressed=tuple(range(K)))
    shifted = TokenNetwork(Neighbours(), Absorbing(K), right_shift=True)
    with pytest.raises(UnsupportedError, match="one axis"):
        shifted(torch.full((1, 2, 2), K), Absorbing(K).level(0.5))
