"""One random stream per sample.

Noise for a sample is drawn from its own generator, derived from the seed and the sample's key, so
a sample does not depend on how many others are computed beside it, on sharding, or on the device.
The global generators are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from sfumato.errors import ShapeError

__all__ = ["Streams"]


class Streams:
    """Independent random streams, one for each item of a batch.

    Draws are made on the CPU in float32 and then moved, so that every device and every precision
    sees the same numbers.

    Args:
        seed: Any integer.
        keys: One key per item: an integer, or several, such as (item, sample).
    """

    def __init__(self, seed: int, keys: Iterable[int | Sequence[int]]) -> None:
        self.seed = seed
        self.keys = [tuple([key] if isinstance(key, int) else key) for key in keys]
        self.generators = [
            torch.Generator().manual_seed(derive(seed, "stream", *key)) for key in self.keys
        ]

    @classmethod
    def count(cls, seed: int, n: int, *, first: int = 0) -> Streams:
        """Streams for samples ``first`` to ``first + n - 1``."""
        return cls(seed, range(first, first + n))

    def __len__(self) -> int:
        return len(self.generators)

    def spawn(self, name: str) -> Streams:
        """Fresh streams for another purpose, such as "measurement", with the same keys."""
        return Streams(derive(self.seed, name), self.keys)

    def select(self, index: Sequence[int]) -> Streams:
        """The streams of some items; they go on from where they are, and are shared."""
        chosen = object.__new__(Streams)
        chosen.seed = self.seed
        chosen.keys = [self.keys[i] for i in index]
        chosen.generators = [self.generators[i] for i in index]
        return chosen

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise with the shape, dtype and device of ``like`` (batch first).

        Complex noise has unit variance in total: 1/2 in the real, 1/2 in the imaginary part.
        """
        single = torch.complex64 if like.is_complex() else torch.float32
        return self.draw(like, single, lambda row, g: row.normal_(generator=g))

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform noise in [0, 1) with the shape, dtype and device of ``like``."""
        return self.draw(like, torch.float32, lambda row, g: row.uniform_(generator=g))

    def perturb_(self, x: Tensor, spread: float | Tensor) -> Tensor:
        """x + spread · z with fresh standard normal z, written into ``x``.

        Args:
            x: A state that nobody else needs, ``[batch, *x]``.
            spread: Standard deviation: a number or a tensor that broadcasts to ``x``. The number 0
                draws nothing.
        """
        if isinstance(spread, Tensor):
            return x.add_(self.normal(x).mul_(spread))
        return x.add_(self.normal(x), alpha=spread) if spread else x

    def draw(
        self, like: Tensor, dtype: torch.dtype, fill: Callable[[Tensor, torch.Generator], object]
    ) -> Tensor:
        """Noise that ``fill(row, generator)`` writes, row by row, in ``dtype`` on the CPU.

        Raises:
            ShapeError: If the batch of ``like`` has another size than there are streams.
        """
        if like.shape[0] != len(self):
            raise ShapeError("batch", like.shape[:1], f"{len(self)}, one item per random stream")
        noise = torch.empty(like.shape, dtype=dtype)
        for row, generator in zip(noise, self.generators, strict=True):
            fill(row, generator)
        return noise.to(device=like.device, dtype=like.dtype)


def derive(seed: int, *key: int | str) -> int:
    """A 63-bit seed that depends on every part of the key."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
