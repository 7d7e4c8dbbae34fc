"""The moving average against its closed form."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import ShapeError, UnknownNameError
from sfumato.training.ema import EMA


def test_the_average_equals_its_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    path = torch.randn(31, 5, generator=g, dtype=torch.float64)
    p = path[0].clone()
    ema, d, n = EMA({"p": p}), 0.9, 30
    for theta in path[1:]:
        p.copy_(theta)
        ema.update(d)
    powers = d ** torch.arange(n - 1, -1, -1, dtype=torch.float64)
    closed = d**n * path[0] + (1 - d) * (powers[:, None] * path[1:]).sum(0)
    assert torch.allclose(ema.average["p"], closed, rtol=1e-12)


def test_no_decay_keeps_the_last_weights() -> None:
    p = torch.zeros(3)
    ema = EMA({"p": p})
    p.copy_(torch.tensor([0.1, 0.2, 0.7]))
    ema.update(0.0)
    assert torch.equal(ema.average["p"], p)


def test_weights_come_back_after_the_average_was_applied_even_after_an_error() -> None:
    p = torch.ones(3)
    ema = EMA({"p": p})
    p.fill_(5.0)
    seen = []

    def fail() -> None:
        with ema.applied():
            seen.extend(p.tolist())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [1, 1, 1]
    assert p.tolist() == [5, 5, 5]


def test_the_average_is_not_part_of_a_graph() -> None:
    p = torch.ones(3, requires_grad=True)
    ema = EMA({"p": p})
    ema.update(0.5)
    assert not ema.average["p"].requires_grad


def test_another_networks_average_is_refused() -> None:
    ema = EMA({"weight": torch.ones(3)})
    with pytest.raises(UnknownNameError, match="weight"):
        ema.load({"weigth": torch.ones(3)})
    with pytest.raises(ShapeError, match="'weight' is 2"):
        ema.load({"weight": torch.ones(2)})
