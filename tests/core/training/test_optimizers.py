"""Muon beside AdamW: which parameters go where, and what a step does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import InvalidOptionError
from sfumato.training import LoRA, TrainConfig
from sfumato.training.optimizers import matrices, optimizer, orthogonal


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.first = nn.Linear(6, 12)
        self.tied = nn.Linear(6, 7, bias=False)
        self.tied.weight = self.embed.weight
        self.second = nn.Linear(12, 6)
        self.last = nn.Linear(6, 7)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.second(self.first(self.embed(ids)).relu()))


def stepped(network: nn.Module, made: torch.optim.Optimizer, steps: int = 1) -> None:
    for k in range(steps):
        ids = torch.arange(7).roll(k)
        nn.functional.cross_entropy(network(ids), ids).backward()
        made.step()
        made.zero_grad()


def made(network: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return optimizer(network, dict(network.named_parameters()), TrainConfig(**options))


def test_an_orthogonal_direction_has_singular_values_near_one() -> None:
    for shape in ((20, 20), (8, 40), (40, 8)):
        matrix = (
            torch.randn(shape, dtype=torch.float64)
            @ torch.diag(torch.logspace(-1, 2, shape[1])).double()
        )
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert float(values.max()) < 1.25
        assert float(values[: min(shape) // 2].min()) > 0.6


def test_an_orthogonal_direction_keeps_the_singular_vectors() -> None:
    U, _ = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(6, 4, dtype=torch.float64))
    found = orthogonal(U @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).double()) @ V.T)
    inside = U.T @ found @ V
    assert torch.allclose(inside - torch.diag(inside.diag()), torch.zeros(4, 4).double(), atol=1e-9)
    assert torch.allclose(U @ inside @ V.T, found, atol=1e-9)


def test_only_matrices_inside_the_network_are_muons() -> None:
    network = Small()
    found = {id(p) for p in matrices(network)}
    assert found == {id(network.first.weight), id(network.second.weight)}


def test_without_muon_the_optimiser_is_adamw() -> None:
    assert type(made(Small())) is torch.optim.AdamW


def test_the_others_move_as_adamw_moves_them() -> None:
    one = Small()
    two = copy.deepcopy(one)
    inside = {id(p) for p in matrices(two)}
    others = [p for p in two.parameters() if id(p) not in inside]
    plain = torch.optim.AdamW(others, 1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    stepped(one, made(one, lr=1e-3, muon=0.02))
    stepped(two, plain)
    assert torch.equal(one.last.weight, two.last.weight)
    assert torch.equal(one.embed.weight, two.embed.weight)
    assert not torch.equal(one.first.weight, two.first.weight)


def test_muon_equals_torchs_own() -> None:
    reference = pytest.importorskip("torch.optim", reason="torch").__dict__.get("Muon")
    if reference is None:
        pytest.skip("this torch has no Muon")
    one = Small()
    two = copy.deepcopy(one)
    mine = made(one, lr=1e-3, muon=0.02)
    inside = matrices(two)
    others = [p for p in two.parameters() if not any(p is q for q in inside)]
    theirs = [
        reference(inside, lr=0.02, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW(others, 1e-3, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    for k in range(3):
        ids = torch.arange(7).roll(k)
        for network, optimizers in ((one, [mine]), (two, theirs)):
            nn.functional.cross_entropy(network(ids), ids).backward()
            for each in optimizers:
                each.step()
                each.zero_grad()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(p, q, atol=2e-3)  # both iterate in bfloat16


def test_matrices_of_one_shape_are_moved_as_each_alone() -> None:
    torch.manual_seed(0)
    stack = [torch.randn(5, 3).double() for _ in range(3)]
    together = orthogonal(torch.stack(stack))
    for matrix, found in zip(stack, together, strict=True):
        assert torch.allclose(orthogonal(matrix), found, atol=1e-12)


def test_muon_decays_the_weights_by_its_own_rate() -> None:
    one = Small()
    two, start = copy.deepcopy(one), one.first.weight.detach().clone()
    stepped(one, made(one, muon=0.02))
    stepped(two, made(two, muon=0.02, weight_decay=0.5))
    assert torch.allclose(two.first.weight, one.first.weight - 0.02 * 0.5 * start, atol=1e-6)


def test_its_state_is_stored_and_restored_bit_by_bit() -> None:
    straight = Small()
    cut = copy.deepcopy(straight)
    first = made(straight, muon=0.02)
    stepped(straight, first, 4)
    before = made(cut, muon=0.02)
    stepped(cut, before, 4)
    again = copy.deepcopy(cut)
    after = made(again, muon=0.02)
    after.load_state_dict(before.state_dict())
    stepped(straight, first, 3)
    stepped(again, after, 3)
    assert all(
        torch.equal(p, q) for p, q in zip(straight.parameters(), again.parameters(), strict=True)
    )


def test_adapters_are_not_trained_with_muon() -> None:
    with pytest.raises(InvalidOptionError, match="muon"):
        TrainConfig(muon=0.02, lora=LoRA())
