"""Priors on a device: moved, saved, sampled, and restoring pictures as on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from devices import agree, tiny_prior

import sfumato as sf
from sfumato.errors import InvalidOptionError
from sfumato.inverse import registry
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Mask

pytestmark = pytest.mark.gpu
SIDE = 64


def test_a_prior_moves_and_is_stored_from_a_device(device: str, tmp_path: Path) -> None:
    prior = tiny_prior()
    moved = prior.to(device)
    assert moved.device == torch.empty(0, device=device).device
    assert prior.device.type == "cpu"
    assert moved.hash() == prior.hash()
    moved.save(tmp_path / "prior")
    assert sf.Prior.load(tmp_path / "prior").hash() == prior.hash()


def test_auto_is_cuda_where_there_is_one(cuda: str) -> None:
    seen: list[torch.device] = []
    sf.sample(
        tiny_prior(), n=1, steps=2, shape=(3, 8, 8), device="auto", sampler="ddim",
        callback=lambda _, step: seen.append(step.x.device),
    )  # fmt: skip
    assert {each.type for each in seen} == {"cuda"}


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="device: 'cuda:97' cannot be used"):
        sf.sample(tiny_prior(), n=1, shape=(3, 8, 8), device="cuda:97")


def test_batches_and_classes_agree(device: str) -> None:
    prior = tiny_prior()
    more = {
        "n": 3, "steps": 4, "shape": (3, 8, 8), "condition": {"label": torch.tensor([0, 1, 2])},
        "scale": 1.5,
    }  # fmt: skip
    expected = sf.sample(prior, **more)
    agree(sf.sample(prior, batch=2, device=device, **more), expected, 1e-3)


@pytest.mark.parametrize("shape", [(3, 11, 14), (1, 16, 16)], ids=["padded", "grey"])
def test_reconstructions_agree(device: str, shape: tuple[int, ...]) -> None:
    prior = tiny_prior()
    mask = torch.arange(shape[1] * shape[2]).reshape(1, *shape[1:]) % 3 > 0
    operator = Mask(mask.expand(shape), likelihood=Gaussian(0.05))
    y = torch.linspace(0, 1, 2 * operator.mask.numel()).reshape(2, *shape)
    expected = sf.reconstruct(prior, operator, y, n=2, steps=5, batch=3)
    found = sf.reconstruct(prior, operator, y, n=2, steps=5, batch=3, device=device)
    agree(found.samples, expected.samples, 1e-3)
    agree(found.mean, expected.mean, 1e-3)
    agree(found.std, expected.std, 1e-3)
    assert found.samples.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_in_other_precisions_come_near(cuda: str, dtype: torch.dtype) -> None:
    prior = tiny_prior()
    expected = sf.sample(prior, n=2, steps=6, shape=(3, 8, 8), sampler="ddim")
    moved = prior.to(cuda, dtype)
    found = sf.sample(moved, n=2, steps=6, shape=(3, 8, 8), sampler="ddim")
    assert found.dtype == torch.float32
    agree(found, expected, 1e-4 if dtype == torch.float64 else 0.1)


TASKS = {
    "inpaint": {}, "super-resolve": {"factor": 2}, "deblur": {}, "denoise": {}, "dejpeg": {},
    "colorize": {}, "declip": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def photo() -> sf.Signal:
    data = pytest.importorskip("skimage.data").astronaut()[20 : 20 + SIDE, 180 : 180 + SIDE]
    pixels = torch.from_numpy(data.copy()).movedim(-1, 0).float() / 255
    return sf.Signal(pixels)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_shipped_prior_restores_photographs_alike(
    device: str, name: str, photo: sf.Signal
) -> None:
    pytest.importorskip("tifffile")
    task = sf.load_plugin("image").operator(name, **TASKS[name])
    measured = task.degrade(photo, seed=1)
    prior = sf.Prior.load("photo")
    expected = sf.reconstruct(prior, task, measured, n=1, steps=4)
    found = sf.reconstruct(prior, task, measured, n=1, steps=4, device=device)
    difference = (found.samples - expected.samples).abs()
    assert float(difference.mean()) < 2e-3
    assert found.record["solver"] == expected.record["solver"]


@pytest.mark.slow
@pytest.mark.parametrize("solver", registry.METHODS)
def test_every_solver_runs_with_the_shipped_prior(
    device: str, solver: str, photo: sf.Signal
) -> None:
    prior = sf.Prior.load("photo")
    operator = Mask(torch.arange(SIDE)[None, :, None] % 2 > 0, likelihood=Gaussian(0.05))
    if solver == "denoising":
        operator = Mask(torch.ones(1, 1, 1) > 0, likelihood=Gaussian(0.05))
    if solver not in registry.applicable(operator, prior.denoiser):
        pytest.skip("does not apply to a mask and this prior")
    y = operator.measure(photo.data[None, :, :32, :32].repeat(1, 1, 2, 2), seed=0)
    options = {"particles": 2} if solver == "tds" else {}
    given = {"n": 1, "steps": 3, "solver": solver, "options": options}
    expected = sf.reconstruct(prior, operator, y, **given)
    found = sf.reconstruct(prior, operator, y, device=device, **given)
    assert float((found.samples - expected.samples).abs().mean()) < 5e-3
