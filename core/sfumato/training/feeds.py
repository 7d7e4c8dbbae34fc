"""The order of the data, as a function of the seed and of a count.

A run sees a sequence of samples, numbered g = 0, 1, 2, … over all processes. Sample g is item
π_e(g mod n) of the data with e = ⌊g/n⌋, where π_e is the permutation of epoch e; its augmentation
comes from a generator derived from (seed, g). So a sample depends neither on the workers that read
it nor on how the run is divided into processes, and a resumed run sees what it would have seen.

Contract of a data set (structural): ``len(data)`` and ``data.item(index, generator)``, which
returns a float tensor in physical units, or a dictionary with it as ``"x"`` beside conditions such
as ``"label"``. Where it has them, ``data.validation()`` returns a data set to validate on or
``None``, ``data.card`` describes the data for a prior's model card, and ``data.mirrors`` names the
axes along which its items are mirrored at random (``Preconditioned``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sfumato.errors import (
    InvalidOptionError,
    NotFiniteError,
    SfumatoError,
    ShapeError,
    UnsupportedError,
)
from sfumato.noise import derive
from sfumato.training.configs import TrainConfig

__all__ = ["Batch", "Data", "Share", "batches", "collate", "stack"]


@runtime_checkable
class Data(Protocol):
    """What can be trained on."""

    def __len__(self) -> int: ...

    def item(self, index: int, generator: torch.Generator) -> Tensor | Mapping[str, Any]:
        """Item ``index``, augmented with randomness from ``generator`` only."""
        ...


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass.

    Args:
        numbers: Their global numbers g.
        x: Data in physical units, ``[batch, *x]``.
        condition: What else the items hold, stacked.
    """

    numbers: tuple[int, ...]
    x: Tensor
    condition: dict[str, Tensor]

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU can copy from by itself."""
        pinned = {key: value.pin_memory() for key, value in self.condition.items()}
        return Batch(self.numbers, self.x.pin_memory(), pinned)


@dataclass(frozen=True)
class Share(Sampler[list[int]]):
    """Numbers of the samples of one process, from one step to another.

    Step s has ``total`` samples; forward pass m of process p takes ``batch`` of them, beginning at
    s · total + (m · processes + p) · batch.
    """

    config: TrainConfig
    start: int
    rank: int = 0
    processes: int = 1

    @property
    def total(self) -> int:
        """Samples of one step over all processes."""
        return self.config.batch * self.config.accumulation * self.processes

    def __len__(self) -> int:
        return (self.config.steps - self.start) * self.config.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.config.steps):
            for forward in range(self.config.accumulation):
                place = (forward * self.processes + self.rank) * self.config.batch
                first = step * self.total + place
                yield list(range(first, first + self.config.batch))


@dataclass
class Samples(Dataset[tuple[int, Any]]):
    """Sample g ↦ (g, item)."""

    data: Data
    seed: int
    orders: dict[int, Tensor] = field(default_factory=dict)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        epoch, place = divmod(number, len(self.data))
        if epoch not in self.orders:
            shuffle = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            # a batch can straddle two epochs, so the one before stays
            recent = {e: order for e, order in self.orders.items() if e == epoch - 1}
            self.orders = {**recent, epoch: torch.randperm(len(self.data), generator=shuffle)}
        generator = torch.Generator().manual_seed(derive(self.seed, "augment", number))
        try:
            return number, self.data.item(int(self.orders[epoch][place]), generator)
        except SfumatoError as error:
            return number, Failure(type(error), str(error))


def batches(data: Data, share: Share, *, pin: bool = False) -> Iterator[Batch]:
    """Reads the samples of ``share`` in order, in as many workers as the settings say.

    Raises:
        InvalidOptionError: If there are no data.
        UnsupportedError: If ``data`` does not follow the contract.
        SfumatoError: While iterating: whatever an item raises, in a worker or not.
    """
    if not isinstance(data, Data):
        raise UnsupportedError(
            "training", "data with __len__ and item(index, generator)",
            f"found {type(data).__name__}",
        )  # fmt: skip
    if len(data) == 0:
        raise InvalidOptionError("training", "there are no data", "point it at some")
    loader: DataLoader[Any] = DataLoader(
        Samples(data, share.config.seed),
        batch_sampler=share,
        num_workers=share.config.workers,
        collate_fn=deliver,
        pin_memory=pin,
        generator=torch.Generator(),  # without one it draws from the global generator
    )
    return received(loader)


class Failure(NamedTuple):
    """An error on its way from a worker; errors with arguments of their own are not pickled."""

    kind: type[SfumatoError]
    message: str


def deliver(samples: list[tuple[int, Any]]) -> Batch | Failure:
    for _, item in samples:
        if isinstance(item, Failure):
            return item
    try:
        return collate(samples)
    except SfumatoError as error:
        return Failure(type(error), str(error))


def received(loader: Iterable[Batch | Failure]) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, Failure):
            error = batch.kind.__new__(batch.kind)
            Exception.__init__(error, batch.message)
            raise error
        yield batch


def collate(samples: list[tuple[int, Any]]) -> Batch:
    """Stacks samples.

    Raises:
        UnsupportedError: If an item has no ``"x"``, or not what the others have.
        ShapeError: If they differ in shape.
        NotFiniteError: If one has NaN or infinite values.
    """
    items = [item if isinstance(item, Mapping) else {"x": item} for _, item in samples]
    names = set(items[0]) | {"x"}
    for item in items:
        if set(item) != names:
            raise UnsupportedError(
                "training", f"items with {sorted(names)}", f"one has {sorted(item)}"
            )
    columns = {key: stack(key, [item[key] for item in items]) for key in items[0]}
    x = columns.pop("x")
    return Batch(tuple(number for number, _ in samples), x, columns)


def stack(key: str, values: list[Any]) -> Tensor:
    """One tensor of many, if they are alike."""
    tensors = [torch.as_tensor(value) for value in values]
    first = tensors[0]
    for tensor in tensors:
        if tensor.shape != first.shape:
            size = "×".join(map(str, first.shape))
            raise ShapeError(f"'{key}' of a training item", tensor.shape, f"{size} like the others")
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            raise NotFiniteError(
                f"'{key}' of a training item", int((~finite).sum()), tensor.numel()
            )
    return torch.stack(tensors)
