"""The two-tower network: what a place may see, and what it may not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import TokenNetwork
from sfumato.errors import InvalidOptionError
from sfumato.processes import Absorbing
from sfumato_text.backbones.attention import attend, rotate, rotations
from sfumato_text.backbones.fillings import Fillings
from sfumato_text.backbones.towers import Towers

K, L = 9, 24


@pytest.fixture(scope="module")
def network() -> Towers:
    torch.manual_seed(0)
    made = Towers(
        tokens=K, width=16, heads=2, layers=2, hidden=24, triples=64, table_width=8, reach=16
    )
    with torch.no_grad():
        for p in made.parameters():  # far from the even answer that it begins with
            p.mul_(3)
    return made.double().eval()


def texts(n: int = 3, length: int = L) -> Tensor:
    return torch.randint(0, K + 1, (n, length), generator=torch.Generator().manual_seed(4))


def everywhere(ids: Tensor) -> Tensor:
    return torch.ones_like(ids, dtype=torch.bool)


@torch.no_grad()
def test_no_place_sees_its_own_state_and_every_place_sees_all_others(network: Towers) -> None:
    ids = texts(1, 12)
    base = network(ids, everywhere(ids))
    for place in range(12):
        other = ids.clone()
        other[0, place] = (ids[0, place] + 1) % K
        moved = (network(other, everywhere(other)) - base).abs().amax(dim=-1)[0]
        assert float(moved[place]) == 0
        assert bool((torch.cat([moved[:place], moved[place + 1 :]]) > 1e-9).all())


@torch.no_grad()
def test_padding_on_either_side_changes_nothing(network: Towers) -> None:
    ids = texts()
    alone = network(ids, everywhere(ids))
    for before, after in ((0, 5), (4, 0), (3, 7)):
        padded = torch.full((3, before + L + after), 2)
        padded[:, before : before + L] = ids
        valid = torch.zeros_like(padded, dtype=torch.bool)
        valid[:, before : before + L] = True
        found = network(padded, valid)[:, before : before + L]
        assert torch.allclose(found, alone, atol=1e-10)


@torch.no_grad()
def test_an_item_is_answered_the_same_alone_and_in_a_batch(network: Towers) -> None:
    ids = texts(4)
    together = network(ids, everywhere(ids))
    for i in range(4):
        own = ids[i : i + 1]
        assert torch.allclose(network(own, everywhere(own))[0], together[i], atol=1e-10)


@torch.no_grad()
def test_what_is_beyond_the_reach_of_all_layers_changes_nothing(network: Towers) -> None:
    reach = 16
    far = 4 * reach + 4  # two layers of a tower, the fusion, and the letters of a triple
    ids = texts(1, far + 2)
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1) % K
    moved = (network(other, everywhere(other)) - network(ids, everywhere(ids))).abs()
    assert float(moved[0, 0].max()) == 0
    assert float(moved[0, -5].max()) > 0


@torch.no_grad()
def test_as_a_denoiser_it_gives_the_leave_one_out_belief_where_the_text_is_shown(
    network: Towers,
) -> None:
    denoiser = TokenNetwork(network, Absorbing(K))
    ids, t = texts(1), Absorbing(K).level(0.5)
    assert denoiser.blind
    guesses = denoiser.guesses(ids, t)
    for place in (0, 5, L - 1):
        hidden = ids.clone()
        hidden[0, place] = K
        # hiding the place changes what its neighbours are told, and not what it is told itself
        assert torch.allclose(denoiser(hidden, t).log_probs[0, place], guesses[0, place])


@torch.no_grad()
def test_a_gap_shown_to_one_tower_has_the_chain_rule_of_its_letters(network: Towers) -> None:
    ids, gap = texts(1, 12), slice(5, 7)
    pairs = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    filled = ids.repeat(len(pairs), 1)
    filled[:, gap] = pairs
    hidden = filled.clone()
    hidden[:, gap] = K
    for left, right in ((filled, hidden), (hidden, filled)):
        logs = network(left, everywhere(filled)[:1], right).log_softmax(dim=-1)
        own = logs[:, gap].gather(-1, pairs.unsqueeze(-1))[..., 0]
        assert float(own.sum(dim=1).exp().sum()) == pytest.approx(1, abs=1e-10)
        first = own[:, 0 if left is filled else 1]  # what is read first knows nothing of the other
        assert len(first.mul(1e9).round().unique()) == K


@torch.no_grad()
@pytest.mark.parametrize("side", [0, 1])
def test_fillings_are_judged_as_by_a_whole_pass(network: Towers, side: int) -> None:
    row, places = texts(1, 40)[0].clamp(max=K - 1), torch.zeros(40, dtype=torch.bool)
    places[[15, 16, 19, 20]] = True
    filled = row.repeat(6, 1)
    filled[:, places] = torch.randint(0, K, (6, 4), generator=torch.Generator().manual_seed(1))
    hidden = filled.masked_fill(places, K)
    read = (hidden, filled) if side else (filled, hidden)
    logs = network(read[0], everywhere(filled)[:1], read[1]).log_softmax(dim=-1)
    whole = (logs.gather(-1, filled.unsqueeze(-1))[..., 0] * places).sum(dim=1)
    told: list[int] = []
    found = Fillings(network, row, places, told.append).log_prob(filled, side)
    assert torch.allclose(found, whole, atol=1e-10)
    assert told == [6]


@pytest.mark.parametrize("at", [0, L - 2], ids=["at the beginning", "at the end"])
@pytest.mark.parametrize("side", [0, 1])
def test_fillings_are_drawn_with_the_probability_that_they_have(
    network: Towers, side: int, at: int
) -> None:
    row, places = texts(1)[0].clamp(max=K - 1), torch.zeros(L, dtype=torch.bool)
    places[at : at + 2] = True
    fillings, n = Fillings(network, row, places), 3000
    u = torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    drawn = fillings.draw(u, side)
    assert torch.equal(drawn[:, ~places], row[~places].expand(n, -1))
    every = row.repeat(K * K, 1)
    every[:, places] = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    chance = fillings.log_prob(every, side).exp()
    share = torch.bincount(drawn[:, at] * K + drawn[:, at + 1], minlength=K * K) / n
    assert float(chance.sum()) == pytest.approx(1, abs=1e-9)
    assert float((share - chance).abs().max()) < 5 * 0.5 / n**0.5


def test_only_a_network_that_learnt_it_offers_fillings() -> None:
    sizes = {"tokens": K, "width": 16, "heads": 2, "layers": 1, "hidden": 24, "triples": 64}
    assert Towers(**sizes).fillings is None
    assert callable(Towers(**sizes, ordered=True).fillings)


def test_dropout_is_for_training_only() -> None:
    made = Towers(tokens=K, width=16, heads=2, layers=1, hidden=24, triples=64, dropout=0.3)
    ids = texts()
    assert not torch.equal(made(ids, everywhere(ids)), made(ids, everywhere(ids)))
    made.eval()
    assert torch.equal(made(ids, everywhere(ids)), made(ids, everywhere(ids)))


def test_attention_in_bfloat16_is_near_the_fused_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((2, 2, 20, 8), generator=generator) for _ in range(3))
    allowed = torch.ones((20, 20), dtype=torch.bool).tril()
    exact = attend(q, k, v, allowed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attend(q, k, v, allowed)
    assert rounded.dtype == torch.bfloat16
    assert float((rounded.float() - exact).abs().max()) < 0.05  # 8 bits of mantissa


def test_rotations_depend_on_distances_only() -> None:
    q, k = torch.randn(8).double(), torch.randn(8).double()
    turn = rotations(30, 8, q)
    rows = rotate(q.expand(30, 8), turn) @ rotate(k.expand(30, 8), turn).T
    assert torch.allclose(rows[5, 2], rows[20, 17])
    assert torch.allclose(rows[0, 7], rows[21, 28])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InvalidOptionError, match="heads=5"):
        Towers(tokens=K, width=16, heads=5)
