"""Processes and samplers: the same numbers on a device as on the CPU, from the same seed."""

from __future__ import annotations

import pytest
import torch
from devices import agree, tiny_prior
from ring import ring

import sfumato as sf
from sfumato.denoisers import (
    DataSetPrior,
    Denoiser,
    GaussianPrior,
    InBasis,
    PointsOnManifold,
)
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Absorbing,
    Blur,
    Cosine,
    Fade,
    Flow,
    Gaussian,
    Heat,
    Product,
    Riemannian,
    Spectral,
    Sphere,
    Steady,
    Student,
    SubVP,
    Torus,
    log_snr,
)
from sfumato.processes.grids import GRIDS
from sfumato.samplers import DDPM, PRESETS, SAMPLERS, Geodesic, run

pytestmark = pytest.mark.gpu
SCHEDULES = [EDM(), VP(), SubVP(), VE(0.01, 50.0), Flow(), Cosine()]
N = 4
FLAT = [name for name in SAMPLERS if "manifold" not in PRESETS[name].needs]
ROUNDING_DECIDES = ("adaptive",)
"""Samplers that take or refuse a step by comparing errors: rounding may tip the balance."""


def chain(process: Gaussian) -> GaussianPrior:
    place = torch.arange(6, dtype=torch.float64)
    return GaussianPrior(process, place / 6, 0.3 * 0.8 ** (place[:, None] - place).abs())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", [Gaussian, Student])
def test_processes_corrupt_and_start_alike(device: str, schedule: VP, kind: type) -> None:
    process = kind(schedule)
    x = torch.linspace(-1, 1, 12).reshape(N, 3)
    for times in (torch.tensor(0.4), torch.linspace(0.1, 0.9, N)):
        ends = []
        for x_0 in (x, x.to(device)):
            streams = Streams.count(3, N)
            t, s = process.level(times), process.level(times / 2)
            x_s = process.corrupt(x_0, s, process.noise(x_0, streams))
            x_t = process.renoise(x_s, s, t, streams.normal(x_s)) if process.normal else x_s
            ends.append(torch.cat([x_t, process.start(x_0, t, streams)]))
        assert ends[1].device == torch.empty(0, device=device).device
        agree(ends[1], ends[0])


@pytest.mark.parametrize("name", FLAT)
def test_a_sampler_agrees_on_an_exact_gaussian(device: str, name: str) -> None:
    if "interpolation" in PRESETS[name].needs:
        pytest.skip("needs a head that no exact denoiser has")
    process, preset = Gaussian(VP()), PRESETS[name]
    grid = GRIDS[preset.grid](process, min(preset.steps, 12))
    ends = []
    for where in ("cpu", device):
        blank, streams = torch.zeros(N, 6, device=where), Streams.count(1, N)
        x = process.start(blank, process.level(grid[0]), streams)
        ends.append(run(SAMPLERS[name](), chain(process), x, grid, streams))
    agree(ends[1], ends[0])


@pytest.mark.parametrize("name", [name for name in FLAT if name not in ROUNDING_DECIDES])
def test_a_sampler_agrees_on_a_network(device: str, name: str) -> None:
    learned = "interpolation" in PRESETS[name].needs
    prior = tiny_prior(head="interpolation" if learned else "variance")
    more = {"n": 2, "sampler": name, "steps": 4, "shape": (3, 8, 8), "condition": {"label": 1}}
    agree(sf.sample(prior, device=device, **more), sf.sample(prior, **more), 2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [ring, "data"])
def test_exact_denoisers_agree(device: str, kind: object, dtype: torch.dtype) -> None:
    process = Gaussian(EDM())
    points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    prior: Denoiser = ring(process) if kind is ring else DataSetPrior(process, points)
    x = torch.linspace(-2, 2, 2 * N, dtype=dtype).reshape(N, 2)
    t = process.at_ratio(0.5)
    expected, found = prior(x, t), prior(x.to(device), t)
    agree(found.mean, expected.mean)
    assert found.mean.dtype == dtype
    if expected.variance is not None:
        agree(found.variance, expected.variance)


SHAPED = {
    "blur": Spectral(Cosine(), Blur((8, 8))),
    "heat": Spectral(Steady(), Heat((8, 8))),
    "fade": Spectral(VP(), Fade(torch.linspace(0, 9, 64).reshape(1, 8, 8).double())),
    "torus": Riemannian(VE(0.005, 5.0), Torus()),
}


@pytest.mark.parametrize("process", SHAPED.values(), ids=SHAPED)
def test_shaped_processes_corrupt_and_sample_alike(device: str, process: Gaussian) -> None:
    x = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)
    if isinstance(process, Riemannian):
        points = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8)
        denoiser: Denoiser = PointsOnManifold(process, points)
    else:
        denoiser = InBasis(lambda x, _: torch.tanh(x), process, prediction="x0")
    ends = []
    for x_0 in (x, x.to(device)):
        streams, t = Streams.count(3, 2), process.level(0.6)
        u = process.analyse(x_0)
        u_t = process.corrupt(u, t, process.noise(u, streams))
        rule = Geodesic() if isinstance(process, Riemannian) else DDPM()
        grid = torch.linspace(0.6, 0, 5, dtype=torch.float64)
        ends.append(process.synthesise(run(rule, denoiser, u_t, grid, streams)))
    agree(ends[1], ends[0])


def test_points_on_a_sphere_agree(device: str) -> None:
    process = Riemannian(VE(0.01, 2.5), Sphere())
    points = torch.nn.functional.normalize(torch.linspace(-1, 1.5, 15).reshape(5, 3), dim=1)
    denoiser = PointsOnManifold(process, points)
    grid, ends = log_snr(process, 6), []
    for where in ("cpu", device):
        streams = Streams.count(0, N)
        blank = torch.zeros(N, 3, device=where)
        x = process.start(blank, process.level(grid[0]), streams)
        ends.append(run(Geodesic(), denoiser, x, grid, streams))
    agree(ends[1], ends[0])


def test_products_corrupt_alike(device: str) -> None:
    process = Product({"x": Gaussian(VP()), "kind": Absorbing(4)})
    x_0 = {"x": torch.linspace(-1, 1, 8).reshape(N, 2), "kind": torch.arange(8).reshape(N, 2) % 4}
    ends = []
    for where in ("cpu", device):
        state = {name: value.to(where) for name, value in x_0.items()}
        ends.append(process.corrupt(state, process.level(0.5), Streams.count(0, N)))
    for name, value in ends[0].items():
        agree(ends[1][name], value)
