"""A product process is its components, side by side."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VP,
    CosineSurvival,
    Gaussian,
    Hybrid,
    Level,
    Marginal,
    Product,
    TokenLevel,
)

MOLECULE = Product(
    {
        "atoms": Marginal((0.7, 0.2, 0.1)),
        "bonds": Hybrid(4, 0.2, CosineSurvival()),
        "positions": Gaussian(VP()),
    }
)
SHAPES = {"atoms": (3, 5), "bonds": (3, 5, 5), "positions": (3, 5, 3)}


def data() -> dict[str, torch.Tensor]:
    return {
        "atoms": torch.ones(3, 5, dtype=torch.long),
        "bonds": torch.full((3, 5, 5), 2),
        "positions": torch.full((3, 5, 3), 2.0),
    }


def test_a_level_has_one_level_for_each_part() -> None:
    levels = MOLECULE.level(torch.tensor([0.2, 0.4, 1.0]))
    assert list(levels) == ["atoms", "bonds", "positions"]
    assert isinstance(levels["bonds"], TokenLevel)
    assert isinstance(levels["positions"], Level)
    assert levels["bonds"].alpha.tolist() == pytest.approx(
        CosineSurvival().alpha(torch.tensor([0.2, 0.4, 1.0]).double()).tolist()
    )
    first, last = MOLECULE.levels(torch.tensor([1.0, 0.0]))
    assert all(level.clean for level in last.values())
    assert not any(level.clean for level in first.values())


def test_a_schedule_that_ends_before_time_1_stays_at_its_end() -> None:
    schedule = EDM()
    level = Product({"x": Gaussian(schedule)}).level(1.0)["x"]
    assert float(level.t) == schedule.t_max


def test_each_part_is_corrupted_by_its_own_process() -> None:
    n = 20_000
    levels = MOLECULE.level(0.5)
    clean = {"atoms": torch.ones(1, n, dtype=torch.long), "positions": torch.full((1, n), 2.0)}
    x_t = MOLECULE.corrupt(clean, levels, Streams.count(0, 1))
    law = MOLECULE.components["atoms"].matrix(  # type: ignore[union-attr]
        MOLECULE.level(0.0)["atoms"], levels["atoms"]
    )[1]
    counts = torch.bincount(x_t["atoms"].flatten(), minlength=3).double() / n
    assert float((counts - law).abs().max()) < 5 * 0.5 / math.sqrt(n)
    level = levels["positions"]
    assert isinstance(level, Level)
    five_sigma = 5 * float(level.sigma) / math.sqrt(n)
    assert float(x_t["positions"].mean()) == pytest.approx(2 * float(level.alpha), abs=five_sigma)
    # independent of each other
    other = (x_t["atoms"] == 1).double() - law[1]
    noise = (x_t["positions"] - 2 * float(level.alpha)) / float(level.sigma)
    assert abs(float((other * noise).mean())) < 5 * 0.5 / math.sqrt(n)


def test_renoising_goes_on_from_a_cleaner_level() -> None:
    n = 20_000
    s, t = MOLECULE.level(0.3), MOLECULE.level(0.6)
    streams = Streams.count(0, 1)
    clean = {"bonds": torch.full((1, n), 2), "positions": torch.full((1, n), 2.0)}
    x_t = MOLECULE.renoise(MOLECULE.corrupt(clean, s, streams), s, t, streams)
    law = MOLECULE.components["bonds"].matrix(  # type: ignore[union-attr]
        MOLECULE.level(0.0)["bonds"], t["bonds"]
    )[2]
    counts = torch.bincount(x_t["bonds"].flatten(), minlength=5).double() / n
    assert float((counts - law).abs().max()) < 5 * 0.5 / math.sqrt(n)
    sigma = float(t["positions"].sigma)  # type: ignore[union-attr]
    assert float(x_t["positions"].std()) == pytest.approx(sigma, rel=5 / math.sqrt(2 * n))


def test_an_item_alone_is_the_item_in_its_batch() -> None:
    def everything(keep: slice) -> list[torch.Tensor]:
        streams = Streams(0, range(3)[keep])
        s, t = MOLECULE.level(0.3), MOLECULE.level(0.6)
        shapes = {name: (len(streams), *shape[1:]) for name, shape in SHAPES.items()}
        x_s = MOLECULE.corrupt({name: x[keep] for name, x in data().items()}, s, streams)
        x_t = MOLECULE.renoise(x_s, s, t, streams)
        return [*x_s.values(), *x_t.values(), *MOLECULE.start(shapes, streams).values()]

    batch = everything(slice(0, 3))
    for found, alone in zip(batch, everything(slice(1, 2)), strict=True):
        assert torch.equal(found[1:2], alone)


def test_what_has_no_process_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'bonds'"):
        MOLECULE.start({"bond": (1, 2)}, Streams.count(0, 1))
    with pytest.raises(InvalidOptionError, match="no components"):
        Product({})
