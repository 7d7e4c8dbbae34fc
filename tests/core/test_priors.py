"""Priors as folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sfumato.codecs import Affine
from sfumato.denoisers import EqualChannels
from sfumato.errors import CheckpointError, OutputExistsError, ShapeError, UnknownNameError
from sfumato.priors import Prior
from sfumato.processes import EDM, VP, Cosine, Flow, Gaussian, LinearBeta, Schedule, SubVP

TINY = {"channels": 1, "widths": (8, 8), "blocks": (1, 1), "variance": True, "embedding": 16}


def tiny(schedule: Schedule | None = None) -> Prior:
    prior = Prior.new(
        "image", "unet", shape=(1, None, None), process=Gaussian(schedule or EDM()),
        codec=Affine(0.5, 0.5), head="variance", options=TINY, card={"name": "tiny"},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for parameter in prior.network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return prior


SCHEDULES = [EDM(sigma_max=20.0), VP(), SubVP(), Flow(), Cosine(), LinearBeta(50)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_prior_comes_back_from_its_folder_as_it_was(schedule: Schedule, tmp_path: Path) -> None:
    prior = tiny(schedule)
    again = Prior.load(prior.save(tmp_path / "prior"))
    assert again.hash() == prior.hash()
    assert again.process == prior.process
    x, level = torch.randn(2, 1, 8, 8), prior.process.at_ratio(0.5)
    expected = prior.denoiser(x, level)
    torch.testing.assert_close(again.denoiser(x, level).mean, expected.mean)
    torch.testing.assert_close(again.denoiser(x, level).variance, expected.variance)


def test_half_precision_on_disk_is_single_precision_in_memory(tmp_path: Path) -> None:
    again = Prior.load(tiny().save(tmp_path / "prior", dtype=torch.float16))
    assert again.denoiser.dtype == torch.float32


def test_the_card_does_not_change_the_hash_and_the_weights_do() -> None:
    prior = tiny()
    assert prior.with_network(prior.network, card={"name": "other"}).hash() == prior.hash()
    moved = tiny()
    next(iter(moved.network.parameters())).data += 1e-3
    assert moved.hash() != prior.hash()


def test_a_folder_in_use_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        tiny().save(tmp_path)
    tiny().save(tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["weights", "json", "missing", "truncated", "schedule"])
def test_a_damaged_folder_is_named(damage: str, tmp_path: Path) -> None:
    folder = tiny().save(tmp_path / "prior")
    weights, text = folder / "prior.safetensors", folder / "prior.json"
    if damage == "weights":
        weights.write_bytes(b"not weights")
    elif damage == "json":
        text.write_text("{")
    elif damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        description = json.loads(text.read_text())
        description["process"]["sigma_min"] = -1
        text.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"prior"):
        Prior.load(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    prior = tiny()
    next(iter(prior.network.parameters())).data[0] = torch.nan
    with pytest.raises(CheckpointError, match="not finite"):
        Prior.load(prior.save(tmp_path / "prior"))


def test_a_prior_of_another_plugin_is_refused(tmp_path: Path) -> None:
    folder = tiny().save(tmp_path / "prior")
    text = folder / "prior.json"
    text.write_text(text.read_text().replace('"plugin": "image"', '"plugin": "imag"'))
    with pytest.raises((CheckpointError, UnknownNameError), match="imag"):
        Prior.load(folder, plugin="image")


def test_an_unknown_name_lists_the_shipped_priors() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'photo'"):
        Prior.load("phot", plugin="image")


def test_a_folder_without_a_prior_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no prior\.json"):
        Prior.load(tmp_path)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8), (1, 8, 8, 8)])
def test_data_that_a_prior_cannot_model_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="1×any×any"):
        tiny().sized(shape)


def test_odd_sizes_are_padded_and_large_ones_tiled_to_the_same_result() -> None:
    prior = tiny()
    noise = torch.Generator().manual_seed(1)
    x, level = torch.randn(1, 1, 45, 515, generator=noise), prior.process.at_ratio(0.3)
    whole = prior.sized((1, 45, 515))(x, level)
    tiled = prior.sized((1, 45, 515), tile=264, overlap=128)(x, level)
    assert whole.mean.shape == x.shape
    torch.testing.assert_close(tiled.mean, whole.mean, rtol=1e-4, atol=1e-3)


def test_one_channel_stands_for_all_where_the_plugin_allows_it() -> None:
    coloured = Prior.new(
        "image", "unet", shape=(3, None, None), options={"widths": (8,), "blocks": (1,)}
    )
    assert isinstance(coloured.sized((1, 8, 10)), EqualChannels)
    assert coloured.stands_for((1, 8, 10)) == 3
    assert coloured.stands_for((3, 8, 10)) == 0
    uneven = replace(coloured, codec=Affine((0.5, 0.4, 0.3), 0.5))
    with pytest.raises(ShapeError, match="as this prior models"):
        uneven.sized((1, 8, 10))  # what is equal outside is not equal in model units
    with pytest.raises(ShapeError, match="as this prior models"):
        coloured.check((1, 8, 10))  # a network is not trained on one channel
