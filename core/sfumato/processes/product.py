"""Several processes at once: a state with parts, such as a molecule's atoms, bonds and positions.

A state is a dictionary of tensors, one for each component, all with the same batch axis. Given the
data the parts turn into noise independently, each by its own process and schedule, at one common
time t (Vignac et al., 2023): what is decided late is what its schedule keeps noisy for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.processes.gaussian import Gaussian, Level

__all__ = ["Levels", "Product", "State"]

State = Mapping[str, Tensor]
Levels = Mapping[str, Level | TokenLevel]


@dataclass(frozen=True, eq=False)
class Product:
    """A product of categorical and Gaussian processes.

    Parts draw from an item's one stream, in the order in which they are given.

    Args:
        components: The process of each part.

    Raises:
        InvalidOptionError: If there is none.
    """

    components: Mapping[str, Categorical | Gaussian]

    def __post_init__(self) -> None:
        if not self.components:
            raise InvalidOptionError("product process", "no components", "name at least one")

    def level(self, t: Tensor | float) -> dict[str, Level | TokenLevel]:
        """The level of every part at time ``t`` (0-dimensional, or one time per item).

        Gaussian schedules that end before t = 1 stay at their end.
        """
        time = torch.as_tensor(t, dtype=torch.float64)
        return {
            name: process.level(time.clamp(max=process.schedule.t_max))
            if isinstance(process, Gaussian)
            else process.level(time)
            for name, process in self.components.items()
        }

    def levels(self, grid: Tensor) -> list[dict[str, Level | TokenLevel]]:
        """The levels of every time of a grid."""
        return [self.level(t) for t in grid.double()]

    def corrupt(self, x_0: State, t: Levels, streams: Streams) -> dict[str, Tensor]:
        """A draw from q(x_t | x₀).

        Raises:
            UnknownNameError: If a part has no process.
        """

        def tokens(process: Categorical, x: Tensor, name: str) -> Tensor:
            return process.corrupt(x, token_level(t, name), streams)

        def numbers(process: Gaussian, x: Tensor, name: str) -> Tensor:
            return process.corrupt(x, gaussian_level(t, name), streams.normal(x))

        return self.each(x_0, tokens, numbers)

    def renoise(self, x_s: State, s: Levels, t: Levels, streams: Streams) -> dict[str, Tensor]:
        """Goes from s up to the noisier t: a draw from q(x_t | x_s).

        Raises:
            UnknownNameError: If a part has no process.
        """

        def tokens(process: Categorical, x: Tensor, name: str) -> Tensor:
            return process.renoise(x, token_level(s, name), token_level(t, name), streams)

        def numbers(process: Gaussian, x: Tensor, name: str) -> Tensor:
            noise = streams.normal(x)
            return process.renoise(x, gaussian_level(s, name), gaussian_level(t, name), noise)

        return self.each(x_s, tokens, numbers)

    def start(self, shapes: Mapping[str, Sequence[int]], streams: Streams) -> dict[str, Tensor]:
        """Pure noise, what sampling starts from at t = 1; numbers in float32.

        Args:
            shapes: Of each part, with batch axis.
            streams: One stream per item.

        Raises:
            UnknownNameError: If a part has no process.
        """
        last = self.level(1.0)

        def tokens(process: Categorical, x: Tensor, name: str) -> Tensor:
            return process.start(x.shape, streams)

        def numbers(process: Gaussian, x: Tensor, name: str) -> Tensor:
            return process.start(x, gaussian_level(last, name), streams)

        blank = {name: torch.zeros(tuple(shape)) for name, shape in shapes.items()}
        return self.each(blank, tokens, numbers)

    def each(
        self,
        x: State,
        tokens: Callable[[Categorical, Tensor, str], Tensor],
        numbers: Callable[[Gaussian, Tensor, str], Tensor],
    ) -> dict[str, Tensor]:
        """What each part becomes, in the order of the components; parts may be left out."""
        for name in x:
            if name not in self.components:
                raise UnknownNameError("part of the state", name, self.components)
        return {
            name: numbers(process, x[name], name)
            if isinstance(process, Gaussian)
            else tokens(process, x[name], name)
            for name, process in self.components.items()
            if name in x
        }


def token_level(levels: Levels, name: str) -> TokenLevel:
    level = levels[name]
    assert isinstance(level, TokenLevel)
    return level


def gaussian_level(levels: Levels, name: str) -> Level:
    level = levels[name]
    assert isinstance(level, Level)
    return level
