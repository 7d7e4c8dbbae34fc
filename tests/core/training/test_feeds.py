"""The order of the data, and what is refused as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sfumato.errors import (
    InvalidOptionError,
    NotFiniteError,
    ShapeError,
    UnreadableFileError,
    UnsupportedError,
)
from sfumato.training.configs import TrainConfig
from sfumato.training.feeds import Batch, Share, batches


@dataclass(frozen=True)
class Table:
    """Items made by a function of (index, generator)."""

    count: int
    make: Callable[[int, torch.Generator], Any]

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> Any:
        return self.make(index, generator)


def noisy(index: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": index + torch.rand(2, generator=generator), "label": index}


def unequal(index: int, generator: torch.Generator) -> torch.Tensor:
    return torch.zeros(1, index + 1)


def broken(index: int, generator: torch.Generator) -> torch.Tensor:
    raise UnreadableFileError("photo.png", "it is cut off")


def nothing(index: int, generator: torch.Generator) -> torch.Tensor:
    return torch.full((2,), float("nan"))


def bare(index: int, generator: torch.Generator) -> dict[str, Any]:
    return {"label": index}


def everything(
    data: Any, *, start: int = 0, rank: int = 0, processes: int = 1, **settings: Any
) -> list[Batch]:
    return list(batches(data, Share(TrainConfig(**settings), start, rank, processes)))


def test_every_epoch_sees_every_item_once_in_another_order() -> None:
    seen = everything(Table(6, noisy), steps=4, batch=3)
    labels = torch.cat([batch.condition["label"] for batch in seen]).tolist()
    assert sorted(labels[:6]) == sorted(labels[6:]) == list(range(6))
    assert labels[:6] != labels[6:]


def test_a_later_start_reads_what_would_have_come() -> None:
    whole = everything(Table(5, noisy), steps=6, batch=4)
    rest = everything(Table(5, noisy), steps=6, batch=4, start=3)
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole[3:], rest, strict=True))


def test_two_processes_read_the_halves_of_one() -> None:
    whole = everything(Table(5, noisy), steps=3, batch=4)
    halves = [everything(Table(5, noisy), steps=3, batch=2, rank=r, processes=2) for r in (0, 1)]
    for one, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(one.x, torch.cat([first.x, second.x]))
        assert one.numbers == first.numbers + second.numbers


def test_accumulated_batches_read_one_step() -> None:
    whole = everything(Table(5, noisy), steps=3, batch=4)
    parts = everything(Table(5, noisy), steps=3, batch=2, accumulation=2)
    assert torch.equal(torch.cat([b.x for b in whole]), torch.cat([b.x for b in parts]))


@pytest.mark.slow
def test_workers_read_the_same() -> None:
    none = everything(Table(5, noisy), steps=4, batch=3)
    some = everything(Table(5, noisy), steps=4, batch=3, workers=2)
    assert all(torch.equal(a.x, b.x) for a, b in zip(none, some, strict=True))


def test_reading_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    everything(Table(5, noisy), steps=2, batch=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (Table(0, noisy), InvalidOptionError, "no data"),
        ([torch.zeros(3)], UnsupportedError, "found list"),
        (Table(4, unequal), ShapeError, "'x' of a training item"),
        (Table(4, nothing), NotFiniteError, "2 of 2"),
        (Table(4, bare), UnsupportedError, r"items with \['label', 'x'\]"),
        (Table(4, broken), UnreadableFileError, "photo.png"),
    ],
)
def test_bad_data_are_refused(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        everything(data, steps=2, batch=2)


@pytest.mark.slow
def test_an_error_in_a_worker_arrives_as_it_was_raised() -> None:
    with pytest.raises(UnreadableFileError, match=r"^cannot read 'photo.png': it is cut off\.$"):
        everything(Table(4, broken), steps=2, batch=2, workers=1)
