"""What holds for every image operator: exact adjoints, accepted simulations, refused nonsense."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.inverse.operators import Linear
from sfumato.inverse.tasks import Task
from sfumato.signals import Signal
from sfumato_image.operators import (
    Colorize,
    Deblur,
    Declip,
    DeJPEG,
    Denoise,
    Inpaint,
    SuperResolve,
)

EIGHT_BITS = {"dtype": "uint8", "scale": 255.0, "alpha": None, "orientation": 1, "format": "PNG"}

TASKS: dict[str, Task] = {
    "inpaint": Inpaint(),
    "inpaint, noisy": Inpaint(noise=5.0),
    "super-resolve": SuperResolve(factor=3),
    "super-resolve box": SuperResolve(factor=3, kernel="box"),
    "deblur": Deblur(),
    "deblur motion": Deblur(length=7, angle=30),
    "deblur motion, circular": Deblur(length=7, angle=30, boundary="circular"),
    "denoise": Denoise(),
    "dejpeg": DeJPEG(),
    "dejpeg 4:2:2": DeJPEG(subsampling="4:2:2", quality=70),
    "dejpeg, gaussian": DeJPEG(likelihood="gaussian"),
    "colorize": Colorize(noise=2.0),
    "declip": Declip(),
}
TABLE = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def smooth(channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A smooth picture with values from about 0.1 to 0.9, different in each channel."""
    rows = torch.linspace(0, 3, height, dtype=torch.float64)[:, None]
    columns = torch.linspace(0, 4, width, dtype=torch.float64)
    planes = [0.5 + 0.4 * torch.sin(rows + k) * torch.cos(columns - k) for k in range(channels)]
    return torch.stack(planes).to(dtype)


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=dtype, generator=generator)


def bound_operator(task: Task, channels: int) -> tuple[Linear, tuple[int, ...]]:
    measured = task.degrade(Signal(smooth(channels, 33, 45), EIGHT_BITS), seed=1)
    bound = task.bind(measured)
    assert isinstance(bound.operator, Linear)
    return bound.operator, bound.operator.data_shape(tuple(bound.y.shape))[1:]


@TABLE
@pytest.mark.parametrize("channels", [1, 3])
def test_the_adjoint_is_exact_in_double_precision(task: Task, channels: int) -> None:
    operator, shape = bound_operator(task, channels)
    x = drawn((2, *shape), torch.float64)
    z = operator(x)
    u = drawn(tuple(z.shape), torch.float64)
    forward, backward = (z * u).sum(), (x * operator.adjoint(u)).sum()
    assert abs(forward - backward) < 1e-10 * z.norm() * u.norm()


@TABLE
def test_a_measurement_does_not_depend_on_its_neighbours(task: Task) -> None:
    operator, shape = bound_operator(task, 3)
    x = drawn((3, *shape), torch.float64)
    together = operator(x)
    alone = torch.cat([operator(x[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


@TABLE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_pseudo_inverse_explains_every_measurement(task: Task, dtype: torch.dtype) -> None:
    operator, shape = bound_operator(task, 3)
    y = operator(drawn((2, *shape), dtype))
    assert y.dtype == dtype
    again = operator(operator.pinv(y))
    # motion blur has no closed form with reflection; conjugate gradients stop at 10⁻⁷ of A*y
    assert float((again - y).norm()) < 2e-3 * float(y.norm())


@TABLE
def test_a_closed_form_is_the_operator(task: Task) -> None:
    operator, shape = bound_operator(task, 3)
    spectrum = operator.spectrum
    if spectrum is None:
        assert isinstance(task, DeJPEG) or getattr(task, "boundary", "") == "reflect"
        return
    x = drawn((2, *shape), torch.float64)
    y, c = operator(x), spectrum.analyse(x)
    assert torch.allclose(spectrum.embed(spectrum.singular * c), y, atol=1e-9)
    assert torch.allclose(spectrum.project(y), spectrum.singular * c, atol=1e-9)
    assert torch.allclose(spectrum.analyse(spectrum.synthesise(c)), c, atol=1e-9)
    noise, variance = torch.tensor(0.1).double(), torch.tensor(0.3).double()
    u = operator.solve(y, variance, noise)
    assert torch.allclose(operator(variance * operator.adjoint(u)) + noise * u, y, atol=1e-8)


@TABLE
@pytest.mark.parametrize("channels", [1, 3])
def test_what_degrade_makes_is_accepted_by_bind(task: Task, channels: int) -> None:
    clean = Signal(smooth(channels, 33, 45), EIGHT_BITS)
    measured = task.degrade(clean, seed=3)
    bound = task.bind(measured)
    shape = bound.operator.data_shape(tuple(bound.y.shape))
    assert bound.y.shape[0] == 1
    x = bound.y.new_zeros(shape)[0]
    assert bound.finish(x).shape == x.shape
    assert measured.data.shape[0] in (1, 3)
    assert bool(torch.isfinite(bound.y).all())


@TABLE
def test_simulated_damage_depends_on_the_seed_only(task: Task) -> None:
    clean = Signal(smooth(3, 33, 45), EIGHT_BITS)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    first, again = task.degrade(clean, seed=7), task.degrade(clean, seed=7)
    assert torch.equal(first.data, again.data)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@TABLE
def test_simulated_files_hold_whole_8_bit_numbers(task: Task) -> None:
    measured = task.degrade(Signal(smooth(3, 33, 45), EIGHT_BITS), seed=0)
    stored = 255 * measured.data.double()
    assert float((stored - stored.round()).abs().max()) < 1e-4  # float32 of n/255


@TABLE
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_pixels_that_are_not_finite_are_refused(task: Task, value: float) -> None:
    data = smooth(3, 33, 45)
    data[1, 5, 6] = value
    with pytest.raises(NotFiniteError, match=r"1 of 4455 values"):
        task.bind(Signal(data, EIGHT_BITS))
    with pytest.raises(NotFiniteError):
        task.degrade(Signal(data, EIGHT_BITS))


@TABLE
@pytest.mark.parametrize("shape", [(2, 9, 9), (4, 9, 9), (9, 9), (3, 0, 9)], ids=str)
def test_other_numbers_of_channels_are_refused_with_help(
    task: Task, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=r"grey.*RGB"):
        task.bind(Signal(torch.zeros(shape), EIGHT_BITS))


@pytest.mark.parametrize("kind", [Inpaint, SuperResolve, Deblur, Denoise, Colorize, Declip])
@pytest.mark.parametrize("noise", [-1.0, 300.0, math.nan, "loud"])
def test_noise_out_of_range_is_refused(kind: type[Task], noise: object) -> None:
    with pytest.raises(InvalidOptionError, match="0 to 255, or 'auto'"):
        kind(noise=noise)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [SuperResolve, Deblur, Denoise])
def test_an_estimated_noise_level_is_reported(kind: type[Task]) -> None:
    data = smooth(3, 80, 80) + 0.02 * drawn((3, 80, 80), torch.float32)
    bound = kind(noise="auto").bind(Signal(data))  # type: ignore[call-arg]
    (found,) = (re.search(r"noise estimated at σ = ([\d.]+)", note) for note in bound.notes)
    assert found is not None
    assert float(found[1]) == pytest.approx(5.1, rel=0.1)


def test_the_noise_is_never_below_the_rounding_of_the_file() -> None:
    bound = Denoise(noise=0.0).bind(Signal(smooth(3, 33, 45), EIGHT_BITS))
    assert float(bound.operator.likelihood.variance) == pytest.approx(1 / 12 / 255**2)
    bound = Denoise(noise=0.0).bind(Signal(smooth(3, 33, 45)))
    assert float(bound.operator.likelihood.variance) == 0.0
