"""The command line on a device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from devices import tiny_prior

from sfumato.cli import main

pytestmark = pytest.mark.gpu


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a prior and a picture."""
    monkeypatch.chdir(tmp_path)
    tifffile = pytest.importorskip("tifffile")
    tiny_prior().save(tmp_path / "prior")
    (tmp_path / "data").mkdir()
    for index in range(4):
        pixels = (
            torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(index)) * 255
        ).byte()
        tifffile.imwrite(tmp_path / "data" / f"{index}.tif", pixels.numpy(), photometric="rgb")
    return tmp_path


def test_commands_compute_on_a_device(
    cuda: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = ["--prior", "prior", "--device", cuda, "--quiet"]
    shape = [word for side in ("3", "8", "8") for word in ("--shape", side)]
    assert main(["sample", "image", *prior, "--out", "s", "-n", "1", *shape]) == 0
    typed = ["reconstruct", "image", "denoise", "data/0.tif", *prior, "-n", "1", "--steps", "3"]
    assert main([*typed, "--out", "r"]) == 0
    assert json.loads((desk / "r" / "run.json").read_text())["operator"]
    tuning = ["finetune", "image", "data", *prior, "--out", "t", "--steps", "2", "--batch", "2"]
    assert main([*tuning, "--dataset.size", "8"]) == 0
    assert (desk / "t" / "prior.json").is_file()


def test_a_device_that_is_not_there_is_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["finetune", "image", "data", "--prior", "prior", "--out", "t", "--device", "cuda:97"]
    assert main([*typed, "--dataset.size", "8"]) == 2
    assert "device: 'cuda:97' cannot be used" in capsys.readouterr().err
    assert not (desk / "t").exists()
