"""Priors under every kind of process: trained, stored, read again, and sampled."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.denoisers import InBasis, Preconditioned, Tangent
from sfumato.errors import CheckpointError, UnknownNameError, UnsupportedError
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.standard import Identity, Mask
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Blur,
    Cosine,
    Cosines,
    Fade,
    FractionalBeta,
    Gaussian,
    Heat,
    Learned,
    Monotone,
    Riemannian,
    Spectral,
    Sphere,
    Steady,
    Student,
    Torus,
)
from sfumato.registry import plugins
from sfumato.training import TrainConfig, loop

SIDE = 4


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin of ``small_plugin``, installed as any other."""
    folder = tmp_path / "site" / "small-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[sfumato.plugins]\nsmall = small_plugin:plugin\n")
    monkeypatch.syspath_prepend(folder.parent)
    plugins.cache_clear()
    yield
    plugins.cache_clear()


def bent() -> Monotone:
    network = Monotone(-4.0, 2.5, width=8)
    with torch.no_grad():
        network.heights.add_(torch.linspace(0, 3, 8, dtype=torch.float64))
    return network


def picture(kind: str) -> Any:
    return {
        "blur": Spectral(Cosine(), Blur((SIDE, SIDE), sigma_max=3.0)),
        "heat": Spectral(Steady(0.05), Heat((SIDE, SIDE), 0.5, 3.0)),
        "fade": Spectral(VP(), Fade(torch.linspace(0, 2, SIDE**2).reshape(1, SIDE, SIDE).double())),
        "fade of frequencies": Spectral(
            VP(), Fade(torch.linspace(0, 2, SIDE**2).reshape(1, SIDE, SIDE), Cosines())
        ),
        "student": Student(EDM(), 128),
        "learned": Gaussian(Learned(bent())),
        "fractional": Gaussian(FractionalBeta(100)),
        "torus": Riemannian(VE(0.01, 4.0), Torus()),
        "sphere": Riemannian(VE(0.02, 2.0), Sphere()),
    }[kind]


FLAT = ["student", "learned", "fractional"]
BASES = ["blur", "heat", "fade", "fade of frequencies"]
CURVED = ["torus", "sphere"]


def made(kind: str) -> Prior:
    shape = {"torus": (2,), "sphere": (3,)}.get(kind, (1, SIDE, SIDE))
    return Prior.new(
        "small", "small", shape=shape, process=picture(kind), options={"size": math.prod(shape)}
    )


@dataclass(frozen=True)
class One:
    """The same item again and again."""

    x: Tensor

    def __len__(self) -> int:
        return 64

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return self.x


def item(kind: str) -> Tensor:
    if kind == "torus":
        return torch.tensor([0.5, -2.0])
    if kind == "sphere":
        return torch.tensor([0.0, 0.6, 0.8])
    return torch.linspace(-0.5, 0.5, SIDE**2).reshape(1, SIDE, SIDE)


@pytest.mark.parametrize("kind", [*FLAT, *BASES, *CURVED])
def test_a_prior_of_any_process_is_trained_stored_read_and_sampled(
    kind: str, tmp_path: Path
) -> None:
    prior = made(kind)
    expected = {**dict.fromkeys(BASES, InBasis), **dict.fromkeys(CURVED, Tangent)}
    assert type(prior.denoiser) is expected.get(kind, Preconditioned)
    config = TrainConfig(
        steps=3, batch=4, lr=0.01, times="uniform", warmup=0, mixed_precision="no",
        weight="uniform" if kind in CURVED else "edm",
    )  # fmt: skip
    before = prior.hash()
    list(loop(prior.denoiser, One(item(kind)), config))
    assert prior.hash() != before
    again = Prior.load(prior.save(tmp_path / "prior"))
    assert type(again.denoiser) is type(prior.denoiser)
    assert type(again.process) is type(prior.process)
    assert again.hash() == prior.hash()
    draws = [sf.sample(p, n=2, steps=6) for p in (prior, again)]
    assert draws[0].shape == (2, *item(kind).shape)
    assert torch.equal(*draws)


@pytest.mark.parametrize("kind", [*FLAT, *BASES, *CURVED])
def test_the_levels_of_a_stored_process_are_those_it_had(kind: str, tmp_path: Path) -> None:
    prior = made(kind)
    again = Prior.load(prior.save(tmp_path / "prior", dtype=torch.float16))
    for time in (0.1, 0.6, 1.0):  # in double precision, whatever the weights are stored in
        old, new = prior.process.level(time), again.process.level(time)
        assert torch.equal(new.alpha, old.alpha)
        assert torch.equal(new.sigma, old.sigma)
    if kind == "student":
        noise = [p.process.noise(torch.zeros(3, 4), Streams.count(0, 3)) for p in (prior, again)]
        assert torch.equal(*noise)
    if kind in CURVED:
        assert again.process == prior.process


def test_what_is_learned_of_a_schedule_is_in_the_hash() -> None:
    prior, other = made("learned"), made("learned")
    other = other.with_network(prior.network)
    assert other.hash() == prior.hash()
    with torch.no_grad():
        other.process.schedule.network.heights.add_(0.1)  # type: ignore[attr-defined]
    assert other.hash() != prior.hash()


class Sideways(VP):
    """A schedule that no folder holds."""


def test_what_no_folder_holds_is_refused_when_it_is_stored(tmp_path: Path) -> None:
    for process in (Gaussian(Sideways()), Gaussian(Learned(nn.Identity()))):
        prior = Prior.new(
            "small", "small", shape=(3,), process=process, prediction="x0", options={"size": 3}
        )
        with pytest.raises(UnsupportedError, match="parts that it can describe"):
            prior.save(tmp_path / "prior")


def test_what_no_folder_holds_is_used_and_has_a_hash_of_its_own() -> None:
    options = {"shape": (3,), "prediction": "x0", "options": {"size": 3}}
    priors = [
        Prior.new("small", "small", process=Gaussian(schedule), **options)
        for schedule in (VP(), Sideways(), Sideways(beta_max=19.0))
    ]
    assert len({prior.hash() for prior in priors}) == 3
    y = torch.zeros(1, 3)
    assert sf.reconstruct(priors[1], Identity(Noise(0.5)), y, n=2, steps=3).samples.shape == (2, 3)


@pytest.mark.parametrize("what", ["missing", "not finite", "unknown"])
def test_a_damaged_process_is_named(what: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = made("learned").save(tmp_path / "prior")
    weights = load_file(folder / "prior.safetensors")
    if what == "missing":
        del weights["process/schedule.heights"]
    elif what == "not finite":
        weights["process/schedule.heights"][0] = torch.nan
    else:
        text = json.loads((folder / "prior.json").read_text())
        text["process"]["schedule"] = "Learnt"
        (folder / "prior.json").write_text(json.dumps(text))
    save_file(weights, folder / "prior.safetensors")
    with pytest.raises((CheckpointError, UnknownNameError), match=r"heights|finite|Learnt"):
        Prior.load(folder)


@pytest.mark.parametrize("kind", ["blur", "student", "torus"])
def test_operators_measure_signals_under_gaussian_noise(kind: str) -> None:
    prior = made(kind)
    keep = torch.ones(item(kind).shape)
    with pytest.raises(UnsupportedError, match="flat space under Gaussian noise"):
        sf.reconstruct(prior, Mask(keep), item(kind)[None], n=1)


@pytest.mark.parametrize("kind", BASES)
def test_samples_are_signals_and_not_coefficients(kind: str) -> None:
    prior = Prior.new(
        "small", "small", shape=(1, SIDE, SIDE), process=picture(kind), prediction="x0",
        options={"size": SIDE**2},
    )  # fmt: skip
    with torch.no_grad():  # a network that always says this picture
        prior.network.layers[2].weight.zero_()  # type: ignore[index,union-attr,operator]
        prior.network.layers[2].bias.copy_(item(kind).flatten())  # type: ignore[index,union-attr,operator]
    found = sf.sample(prior, n=2, steps=4)
    torch.testing.assert_close(found, item(kind).expand(2, 1, SIDE, SIDE), rtol=0, atol=1e-5)
