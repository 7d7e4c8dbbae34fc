"""The checks of ``sfumato.testing`` accept what is right and name what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sfumato.errors import UnreadableFileError
from sfumato.inverse.likelihoods import Gaussian, Laplace, Poisson, Quantised
from sfumato.inverse.operators import FromFunction, Linear, Operator
from sfumato.inverse.tasks import Bound, Task
from sfumato.noise import Streams
from sfumato.plugin import Plugin
from sfumato.processes import EDM, VP, Flow, Level, Schedule
from sfumato.processes import Gaussian as Process
from sfumato.samplers import DDIM, DDPM, Sampler, kernel
from sfumato.signals import Signal
from sfumato.testing import (
    check_format,
    check_operator,
    check_plugin,
    check_process,
    check_sampler,
)


def halves(x: Tensor) -> Tensor:
    return (x + x.roll(1, -1))[..., ::2] / 2


def signals(dtype: torch.dtype = torch.float64) -> Tensor:
    return Streams.count(1, 3).normal(torch.zeros(3, 1, 9, dtype=dtype)).abs() + 0.5


LIKELIHOODS = [Gaussian(0.1), Gaussian(0.0), Laplace(0.1), Poisson(50, 2), Quantised(0.1, 0.01)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_a_right_operator_passes(likelihood: Gaussian, dtype: torch.dtype) -> None:
    check_operator(FromFunction(halves, (1, 9), likelihood), signals(dtype))


def test_a_complex_operator_passes() -> None:
    x = torch.complex(signals(), signals().flip(-1))
    rotation = FromFunction(lambda z: halves(z) * 1j, (1, 9), Gaussian(0.1), torch.complex128)
    check_operator(rotation, x)


@dataclass(frozen=True, eq=False)
class Square(Operator):
    """A nonlinear operator that is right."""

    likelihood: Gaussian = Gaussian(0.1)

    def __call__(self, x: Tensor) -> Tensor:
        return x**2


def test_a_nonlinear_operator_passes() -> None:
    check_operator(Square(), signals())


@dataclass(frozen=True, eq=False)
class Wrong(Linear):
    """A linear operator with one fault."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    likelihood: Gaussian = Gaussian(0.1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.backward(y)


FAULTS = {
    r"⟨A'\(x\) v, u⟩ = ⟨v, A'\(x\)\* u⟩": (lambda x: x.roll(1, -1), lambda y: y.roll(1, -1)),
    "does not depend on its neighbours": (lambda x: x - x.mean(0), lambda y: y - y.mean(0)),
    r"A\(3x \+ v\) = 3 A x \+ A v": (lambda x: x + 1.0, lambda y: y),
    "keeps precision and device": (lambda x: x.float(), lambda y: y.double()),
    "data_shape returns the shape of x": (halves, lambda y: y),
    "keeps the batch axis": (lambda x: x[:1], lambda y: y),
    "is finite for finite x": (lambda x: x / 0.0, lambda y: y),
}


@pytest.mark.parametrize(("law", "maps"), FAULTS.items(), ids=list(FAULTS))
def test_a_wrong_operator_is_named(law: str, maps: tuple[Callable[[Tensor], Tensor], ...]) -> None:
    with pytest.raises(AssertionError, match=law):
        check_operator(Wrong(*maps), signals())


def test_one_item_is_not_enough_to_check_independence() -> None:
    with pytest.raises(AssertionError, match="two or more items"):
        check_operator(FromFunction(halves, (1, 9)), signals()[:1])


@pytest.mark.parametrize("schedule", [EDM(), VP(), Flow()], ids=repr)
def test_a_right_process_passes(schedule: Schedule) -> None:
    check_process(Process(schedule))


@dataclass(frozen=True)
class Falling(Schedule):
    """Noise that shrinks with time."""

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), 2 - t


@dataclass(frozen=True)
class Wide(Process):
    """A process that adds too much noise on the way up."""

    def renoise(self, x_s: Tensor, s: Level, t: Level, noise: Tensor) -> Tensor:
        return super().renoise(x_s, s, t, 1.1 * noise)


def test_a_schedule_that_falls_is_named() -> None:
    with pytest.raises(AssertionError, match="σ/α increases with t"):
        check_process(Process(Falling()))


def test_a_wrong_transition_is_named() -> None:
    with pytest.raises(AssertionError, match="renoise after corrupt has standard deviation"):
        check_process(Wide())


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(1.0), DDPM("calibrated")], ids=repr)
def test_a_right_sampler_passes(sampler: Sampler) -> None:
    check_sampler(sampler)


@dataclass(frozen=True)
class Faulty(Sampler):
    """DDIM with one fault."""

    fault: str

    def step(self, denoise, x_t, t, s, streams, history) -> Tensor:  # type: ignore[no-untyped-def]
        x_s = kernel(denoise(x_t, t).mean, x_t, t, s, streams, eta=0.0)
        if self.fault == "global":
            return x_s + 0 * torch.randn(1)
        if self.fault == "batch":
            return x_s + 1e-3 * (x_s.mean(0) - x_s)
        if self.fault == "dtype":
            return x_s.double()
        return x_s * 0.999


SAMPLER_FAULTS = {
    "global": "the global random generator is not touched",
    "batch": "does not depend on its neighbours",
    "dtype": "single precision stays single",
    "shrinks": "samples have the data's mean",
}


@pytest.mark.parametrize(("fault", "law"), SAMPLER_FAULTS.items(), ids=list(SAMPLER_FAULTS))
def test_a_wrong_sampler_is_named(fault: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_sampler(Faulty(fault))


class Json:
    """A format that is right."""

    suffixes: tuple[str, ...] = (".json",)

    def read(self, path: Path) -> Signal:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return Signal(torch.tensor(values), path=path)
        except (OSError, ValueError) as error:
            raise UnreadableFileError(path, "it is not JSON") from error

    def write(self, signal: Signal, path: Path) -> Path:
        path.write_text(json.dumps(signal.data.tolist()), encoding="utf-8")
        return path


class Lossy(Json):
    """A format that rounds."""

    def write(self, signal: Signal, path: Path) -> Path:
        return super().write(signal.with_data((signal.data * 100).round() / 100), path)


class Careless(Json):
    """A format whose errors do not say which file."""

    def read(self, path: Path) -> Signal:
        try:
            return super().read(path)
        except UnreadableFileError as error:
            raise ValueError("bad file") from error


class Littering(Json):
    """A format that leaves a temporary file."""

    def write(self, signal: Signal, path: Path) -> Path:
        path.with_suffix(".tmp").write_text("")
        return super().write(signal, path)


EXAMPLE = Signal(torch.linspace(0.0, 1.0, 8)[None])


def test_a_right_format_passes(tmp_path: Path) -> None:
    check_format(Json(), EXAMPLE, tmp_path / "x.json")


def test_a_lossy_format_passes_with_its_precision(tmp_path: Path) -> None:
    check_format(Lossy(), EXAMPLE, tmp_path / "x.json", tolerance=0.005)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Lossy, r"read\(write\(signal\)\) is the signal"),
        (Careless, "a missing file gives an UnreadableFileError"),
        (Littering, "write leaves one file; also found x.tmp"),
    ],
)
def test_a_wrong_format_is_named(kind: type[Json], law: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=law):
        check_format(kind(), EXAMPLE, tmp_path / "x.json")


@dataclass(frozen=True)
class Halve(Task):
    """Halves the resolution.

    Args:
        noise: Standard deviation.
    """

    summary = "halve the resolution"
    noise: float = 0.1

    def operator(self, shape: tuple[int, ...]) -> FromFunction:
        return FromFunction(halves, shape, Gaussian(self.noise))

    def bind(self, signal: Signal) -> Bound:
        shape = (1, 2 * signal.data.shape[-1])
        return Bound(self.operator(shape), signal.data[None], signal)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        operator = self.operator(tuple(signal.data.shape))
        return signal.with_data(operator.measure(signal.data[None], seed=seed)[0])


@dataclass(frozen=True)
class Random(Halve):
    """Is not repeatable.

    Args:
        noise: Standard deviation.
    """

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        return super().degrade(signal, seed=random.getrandbits(32))


@dataclass(frozen=True)
class Undocumented(Halve):
    """Has an option without help; that of the class it extends has some."""

    weight: float = 1.0


class Thawed(Halve):
    """Has no dataclass of its own."""


HERE = __name__
GOOD = Plugin(
    name="numbers",
    summary="Rows of numbers.",
    install="numbers",
    formats={"json": f"{HERE}:Json"},
    operators={"halve": f"{HERE}:Halve"},
)


def test_a_right_plugin_passes() -> None:
    check_plugin(GOOD, signal=EXAMPLE, tasks=[Halve(), Halve(noise=0.0)])


def test_a_task_that_is_not_repeatable_is_named() -> None:
    with pytest.raises(AssertionError, match="degrade depends on its seed only"):
        check_plugin(GOOD, signal=EXAMPLE, tasks=[Random()])


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"name": "My Plugin"}, "a name has lower-case letters"),
        ({"summary": ""}, "summary is one line"),
        ({"requires": ("no_such_module",)}, "required modules are installed; no_such_module"),
        ({"operators": {"halve": f"{HERE}:Undocumented"}}, "option 'weight' is documented"),
        ({"operators": {"halve": f"{HERE}:Json"}}, "a dataclass derived from Task"),
        ({"formats": {"a": f"{HERE}:Json", "b": f"{HERE}:Lossy"}}, "belongs to one format"),
        ({"backbones": {"net": f"{HERE}:Json"}}, r"a torch\.nn\.Module class"),
        ({"metrics": {"psnr": f"{HERE}:EXAMPLE"}}, "it can be called"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_plugin_is_named(change: dict[str, object], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_plugin(dataclasses.replace(GOOD, **change))


def test_the_checks_accept_what_statistics_allow() -> None:
    check_sampler(DDIM(), process=Process(VP()), steps=400, bias=math.inf)
