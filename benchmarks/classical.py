"""Methods without a trained prior, each at its best setting *for the picture at hand*.

The setting is chosen by the error against the truth, which no user has: the comparison favours
these methods. Settings lie on a logarithmic grid; the search climbs from its middle, since the
error has one minimum. Time is that of one run at the chosen setting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from degradations import Case
from sfumato_image import baselines
from sfumato_image.intervals import within_intervals
from sfumato_image.operators.jpeg_planes import BlockCosine

__all__ = ["CLASSICAL", "REFERENCES", "Found", "run"]


@dataclass(frozen=True)
class Found:
    """A restored picture ``[3, height, width]``, its setting, and the seconds of its run."""

    picture: Tensor
    setting: str
    cpu: float
    wall: float


def bicubic(case: Case, _: float) -> Tensor:
    return baselines.bicubic(case.y[0], factor=int(case.task.value))


def lanczos(case: Case, _: float) -> Tensor:
    return baselines.lanczos(case.y[0], factor=int(case.task.value))


def decoded(case: Case, _: float) -> Tensor:
    assert case.decoded is not None
    return case.decoded


def wiener(case: Case, balance: float) -> Tensor:
    return baselines.wiener(case.y[0], kernel=case.task.blur, balance=balance)


def tv(case: Case, weight: float) -> Tensor:
    if isinstance(case.operator, BlockCosine):
        assert case.operator.step is not None
        return within_intervals(
            case.y[0], operator=case.operator, step=case.operator.step, share=weight
        )
    if case.task.kind == "denoise":
        return baselines.tv(case.y[0], weight=weight)
    return baselines.tv_deblur(case.y[0], operator=case.operator, weight=weight)


def nlm(case: Case, strength: float) -> Tensor:
    return baselines.nlm(case.y[0], sigma=case.sigma, strength=strength)


def wavelet(case: Case, scale: float, name: str = "db2") -> Tensor:
    return baselines.wavelet(case.y[0], sigma=scale * case.sigma, name=name)


def biharmonic(case: Case, _: float) -> Tensor:
    assert case.known is not None
    return baselines.biharmonic(case.y[0], mask=case.known)


@dataclass(frozen=True)
class Classical:
    """A method with the grid of its one setting for each kind of task that it can do."""

    run: Callable[[Case, float], Tensor]
    setting: str
    grids: dict[str, Sequence[float]]


def decades(low: float, high: float, per: int = 6) -> tuple[float, ...]:
    """A logarithmic grid between powers of ten."""
    return tuple(10 ** (low + i / per) for i in range(round((high - low) * per) + 1))


ONCE = (0.0,)
SCALES = tuple(0.4 + 0.1 * i for i in range(13))
CLASSICAL: dict[str, Classical] = {
    "bicubic": Classical(bicubic, "", {"super-resolve": ONCE}),
    "lanczos": Classical(lanczos, "", {"super-resolve": ONCE}),
    "decoded": Classical(decoded, "", {"dejpeg": ONCE}),
    "wiener": Classical(wiener, "balance", {"deblur": decades(-5, -1)}),
    "tv": Classical(
        tv, "weight",
        {"deblur": decades(-5, -2, 4), "denoise": decades(-1.5, -0.5, 12),
         "dejpeg": tuple(i / 10 for i in range(1, 11))},
    ),
    "nlm": Classical(nlm, "strength", {"denoise": SCALES}),
    "wavelet-db2": Classical(wavelet, "scale", {"denoise": SCALES}),
    "wavelet-sym8": Classical(partial(wavelet, name="sym8"), "scale", {"denoise": SCALES}),
    "biharmonic": Classical(biharmonic, "", {"inpaint": ONCE}),
}  # fmt: skip
REFERENCES = {
    "super-resolve": ("bicubic",),
    "deblur": ("wiener", "tv"),
    "inpaint": ("biharmonic",),
    "dejpeg": ("decoded",),
    "denoise": ("nlm", "tv", "wavelet-db2", "wavelet-sym8"),
}
"""What gains are measured against: the best of these on each picture."""


def run(name: str, case: Case) -> Found:
    """One method on one picture."""
    method = CLASSICAL[name]
    grid = method.grids[case.task.kind]
    tried: dict[int, tuple[float, Found]] = {}

    def error(index: int) -> float:
        if index not in tried:
            cpu, wall = time.process_time(), time.perf_counter()
            picture = case.finish(method.run(case, grid[index])[None])[0]
            setting = f"{method.setting} {grid[index]:.3g}".strip() if method.setting else ""
            seconds = time.process_time() - cpu, time.perf_counter() - wall
            mse = float((picture - case.truth).square().mean())
            tried[index] = mse, Found(picture, setting, *seconds)
        return tried[index][0]

    best = len(grid) // 2
    while True:
        near = [i for i in (best, best - 1, best + 1) if 0 <= i < len(grid)]
        lowest = min(near, key=error)
        if lowest == best:
            return tried[best][1]
        best = lowest
