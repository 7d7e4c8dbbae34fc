"""Fine-tuning from a folder to a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sfumato.errors import CheckpointError, InvalidOptionError, OutputExistsError, ShapeError
from sfumato.priors import Prior
from sfumato.training import LoRA, TrainConfig, checkpoint, finetune

CONFIG = TrainConfig(
    steps=6, batch=2, lr=1e-3, warmup=0, validation_every=3, validation_items=4, samples=2,
    log_every=2, ema=0.5,
)  # fmt: skip


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tune(prior: Prior, data: Any, out: Path, config: TrainConfig = CONFIG, **more: Any) -> Prior:
    return finetune(prior, data, out=out, config=config, **{"tracker": "", **more})


class StoppedError(Exception):
    """Stands for Ctrl-C."""


def interrupt_at(index: int) -> Any:
    def callback(step: Any) -> None:
        if step.index == index:
            raise StoppedError

    return callback


def test_the_folder_holds_a_prior_with_the_averaged_weights(
    tmp_path: Path, prior: Prior, blobs: Any, weights: Any
) -> None:
    before = weights(prior.network)
    tuned = tune(prior, blobs, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "prior.safetensors")
    average = checkpoint.average(tmp_path / "out" / "checkpoints" / "step-00000006")
    for name, value in tuned.network.state_dict().items():
        assert torch.equal(value, stored[name])
        assert torch.equal(value, average.get(name, value))
    assert all(torch.equal(v, before[name]) for name, v in prior.network.state_dict().items())
    after, name = tuned.network.state_dict(), "last.weight"
    assert not torch.equal(after[name], before[name])
    assert not tuned.network.training


def test_the_card_says_where_the_weights_come_from(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    tune(prior, blobs, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "prior.json").read_text())["card"]
    assert card["name"] == "b"
    assert card["training"]["parent"] == prior.hash()
    assert card["training"]["config"]["lr"] == 1e-3
    assert card["training"]["validation_loss"] == lines(tmp_path / "out")[-1]["validation_loss"]


def test_metrics_hold_means_and_validations(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    tune(prior, blobs, tmp_path / "out")
    seen = [(line["step"], "validation_loss" in line) for line in lines(tmp_path / "out")]
    assert seen == [(2, False), (3, True), (4, False), (6, False), (6, True)]


def test_validation_is_the_same_for_the_same_weights(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    still = replace(CONFIG, lr=1e-30)
    tune(prior, blobs, tmp_path / "out", still)
    losses = [
        line["validation_loss"] for line in lines(tmp_path / "out") if "validation_loss" in line
    ]
    assert losses[0] == losses[1]


def test_resumed_equals_uninterrupted(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    config = replace(CONFIG, checkpoint_minutes=1e-9)
    whole = tune(prior, blobs, tmp_path / "whole", config)
    with pytest.raises(StoppedError):
        tune(prior, blobs, tmp_path / "parts", config, callback=interrupt_at(3))
    parts = tune(prior, blobs, tmp_path / "parts", config, resume=True)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name])
    first, second = lines(tmp_path / "whole"), lines(tmp_path / "parts")
    assert [line["step"] for line in first] == [line["step"] for line in second]
    assert first[-1] == second[-1]


def test_resuming_a_finished_run_gives_its_prior_again(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    tuned = tune(prior, blobs, tmp_path / "out")
    again = tune(prior, blobs, tmp_path / "out", resume=True)
    assert again.hash() == tuned.hash()


def test_resuming_without_a_checkpoint_starts(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    assert tune(prior, blobs, tmp_path / "out", resume=True).hash() != prior.hash()


def test_adapters_are_merged_into_the_result_and_kept_apart(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    tuned = tune(prior, blobs, tmp_path / "out", replace(CONFIG, lora=LoRA(rank=2)))
    assert set(tuned.network.state_dict()) == set(prior.network.state_dict())
    assert (tmp_path / "out" / "adapter" / "adapter.safetensors").exists()
    small = load_file(tmp_path / "out/checkpoints/step-00000006/network.safetensors")
    assert all(".lora_" in name or name == "frequencies" for name in small)


def test_adapters_resume_too(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    config = replace(CONFIG, lora=LoRA(rank=2, dropout=0.3), checkpoint_minutes=1e-9)
    whole = tune(prior, blobs, tmp_path / "whole", config)
    with pytest.raises(StoppedError):
        tune(prior, blobs, tmp_path / "parts", config, callback=interrupt_at(2))
    parts = tune(prior, blobs, tmp_path / "parts", config, resume=True)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name])


def test_sample_grids_are_handed_to_the_caller(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    drawn: list[tuple[Tensor, Path]] = []
    tune(prior, blobs, tmp_path / "out", draw=lambda x, path: drawn.append((x, path)))
    assert [path.name for _, path in drawn] == ["step-00000003", "step-00000006"]
    assert all(x.shape == (2, 1, 8, 8) and torch.isfinite(x).all() for x, _ in drawn)
    assert all(path.parent.is_dir() for _, path in drawn)


def test_the_tracker_is_told(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    tune(prior, blobs, tmp_path / "out", tracker="tensorboard")
    assert list((tmp_path / "out" / "logs").rglob("events.out.tfevents.*"))


def test_a_progress_bar_can_be_shown(
    tmp_path: Path, prior: Prior, blobs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(prior, blobs, tmp_path / "out", progress=True)
    assert "training" in capsys.readouterr().out


def test_a_folder_in_use_is_refused_and_untouched(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExistsError):
        tune(prior, blobs, tmp_path)
    tune(prior, blobs, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwriting_forgets_the_earlier_run(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    tune(prior, blobs, tmp_path / "out", replace(CONFIG, steps=9))
    tune(prior, blobs, tmp_path / "out", overwrite=True)
    assert max(line["step"] for line in lines(tmp_path / "out")) == 6
    folder = tmp_path / "out" / "checkpoints"
    assert checkpoint.latest(folder) == folder / "step-00000006"


def test_resuming_with_other_settings_is_refused(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    tune(prior, blobs, tmp_path / "out")
    with pytest.raises(CheckpointError, match="made with seed=0, not 1"):
        tune(prior, blobs, tmp_path / "out", replace(CONFIG, seed=1), resume=True)


def test_data_of_a_wrong_shape_are_refused_before_anything_is_written(
    tmp_path: Path, prior: Prior, blobs: Any
) -> None:
    with pytest.raises(ShapeError, match="multiples of 4"):
        tune(prior, replace(blobs, side=9), tmp_path / "out")
    with pytest.raises(ShapeError):
        tune(replace(prior, shape=(3, None, None)), blobs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_tracker_is_refused(tmp_path: Path, prior: Prior, blobs: Any) -> None:
    with pytest.raises(InvalidOptionError, match="tracker='tensorbord'"):
        tune(prior, blobs, tmp_path / "out", tracker="tensorbord")


class Untouched:
    """Data that are not to be asked for anything."""

    def __len__(self) -> int:
        return 4

    def item(self, index: int, generator: torch.Generator) -> Any:
        raise AssertionError


def test_a_device_that_is_not_there_is_refused_before_any_compute(
    tmp_path: Path, prior: Prior
) -> None:
    with pytest.raises(InvalidOptionError, match="'warp' cannot be used"):
        tune(prior, Untouched(), tmp_path / "out", device="warp")
    assert not (tmp_path / "out").exists()
