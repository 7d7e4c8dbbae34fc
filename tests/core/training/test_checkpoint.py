"""Checkpoints: complete, checked, and never pickled weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.errors import CheckpointError, UnwritableFileError
from sfumato.priors import Prior
from sfumato.training import checkpoint
from sfumato.training.checkpoint import State
from sfumato.training.configs import TrainConfig
from sfumato.training.loops import loop

CONFIG = TrainConfig(steps=6, batch=2, lr=1e-3, warmup=0)
FILES = ["network.safetensors", "average.safetensors", "optimizer.pt", "state.json"]


def train(
    prior: Prior, data: Any, *, stop: int = 3, config: TrainConfig = CONFIG, **more: Any
) -> State:
    for step in loop(prior.denoiser, data, config, codec=prior.codec, **more):
        state = step.state
        if state.step == stop:
            break
    return state


def test_a_checkpoint_holds_tensors_in_safetensors_and_plain_state(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    path = checkpoint.save(train(prior, blobs), tmp_path)
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)
    description = json.loads((path / "state.json").read_text())
    assert (description["step"], description["seed"], description["sample"]) == (3, 0, 6)
    torch.load(path / "optimizer.pt", weights_only=True)


def test_restoring_gives_back_every_number(
    tmp_path: Path, prior: Prior, blobs: Any, weights: Any
) -> None:
    state = train(prior, blobs)
    checkpoint.save(state, tmp_path)
    before = weights(state.network)
    train(prior, blobs, stop=1, config=replace(CONFIG, seed=5))  # moves the weights
    other = train(prior, blobs, stop=1)
    checkpoint.restore(other, tmp_path)
    assert other.step == 3
    for name, value in weights(other.network).items():
        assert torch.equal(value, before[name])
    for name, value in other.ema.average.items():
        assert torch.equal(value, state.ema.average[name])
    there, here = (s.optimizer.state_dict()["state"] for s in (state, other))
    assert all(torch.equal(there[k]["exp_avg"], here[k]["exp_avg"]) for k in there)


def test_only_the_last_two_are_kept(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    for step in loop(prior.denoiser, blobs, CONFIG, codec=prior.codec):
        checkpoint.save(step.state, tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000005", "step-00000006"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000006"


def test_a_half_written_checkpoint_is_no_checkpoint(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    state = train(prior, blobs)
    good = checkpoint.save(state, tmp_path)
    stale = tmp_path / ".writing-step-00000009"
    stale.mkdir()
    (stale / "network.safetensors").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) == good
    checkpoint.save(state, tmp_path)
    assert not stale.exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped"])
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, prior: Prior, blobs: Any, name: str, damage: str
) -> None:
    path = checkpoint.save(train(prior, blobs, stop=1), tmp_path) / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 255
        kept = {"empty": 0, "cut": len(content) // 2, "flipped": len(content)}[damage]
        path.write_bytes(content[:kept])
    with pytest.raises(CheckpointError, match=r"missing or damaged.*start again"):
        train(prior, blobs, resume=tmp_path)


def test_a_damaged_checkpoint_names_the_one_before(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    for step in loop(prior.denoiser, blobs, CONFIG, codec=prior.codec):
        checkpoint.save(step.state, tmp_path)
    (tmp_path / "step-00000006" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="delete it to go on from 'step-00000005'"):
        train(prior, blobs, resume=tmp_path)


def test_an_empty_folder_has_nothing_to_resume(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    with pytest.raises(CheckpointError, match="missing or damaged"):
        train(prior, blobs, resume=tmp_path)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"lr": 2e-3}, {"batch": 3}, {"schedule": "constant"}, {"ema": 0.5}]
)
def test_other_settings_are_refused(
    tmp_path: Path, prior: Prior, blobs: Any, change: dict[str, Any]
) -> None:
    checkpoint.save(train(prior, blobs), tmp_path)
    name = next(iter(change)) if "batch" not in change else "batch × processes × accumulation"
    with pytest.raises(CheckpointError, match=f"made with {name}="):
        train(prior, blobs, resume=tmp_path, config=replace(CONFIG, **change))


def test_a_run_may_be_prolonged_and_divided_otherwise(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    checkpoint.save(train(prior, blobs), tmp_path)
    longer = replace(CONFIG, steps=9, batch=1, accumulation=2, checkpoint_minutes=1.0)
    state = train(prior, blobs, resume=tmp_path, config=longer, stop=5)
    assert state.step == 5


def test_another_network_is_refused(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    from sfumato.networks import UNet

    checkpoint.save(train(prior, blobs), tmp_path)
    other = prior.with_network(UNet(channels=1, widths=(8,), blocks=(1,), classes=3, variance=True))
    with pytest.raises(CheckpointError, match="missing or damaged"):
        train(other, blobs, resume=tmp_path)


def test_a_folder_that_cannot_be_written_leaves_a_clear_error(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    state = train(prior, blobs)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableFileError, match="cannot write"):
        checkpoint.save(state, tmp_path / "file")


@pytest.mark.parametrize("limit", [4_000, 40_000])
def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, prior: Prior, blobs: Any, limit: int
) -> None:
    resource = pytest.importorskip("resource")
    state = train(prior, blobs)
    good = checkpoint.save(state, tmp_path)
    state.step += 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UnwritableFileError, match="step-00000004"):
            checkpoint.save(state, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [good]
    train(prior, blobs, resume=tmp_path)
