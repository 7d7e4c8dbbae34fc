"""Options from a file, and where they are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sfumato.cli import main

Answer = Callable[[], dict]
Failure = Callable[..., str]

FAST = ["-n", "2", "--steps", "3", "--device", "cpu"]
RUN = ["reconstruct", "tiny", "hide", "scans/a.npy", "--out", "out", *FAST]


def test_a_configuration_file_gives_values_and_the_command_line_wins(folder: Path) -> None:
    text = 'n = 3\nseed = 5\nnoise = 0.2\npattern = "odd"\nsteps = 3\n'
    (folder / "run.toml").write_text(text)
    typed = ["reconstruct", "tiny", "hide", "scans/a.npy", "--out", "out", "--config", "run.toml"]
    assert main([*typed, "--seed", "6"]) == 0
    record = json.loads((folder / "out" / "run.json").read_text())
    assert (record["seed"], record["samples"]) == (6, 3)
    assert "pattern='odd'" in record["operator"]


def test_a_configuration_file_can_hold_the_whole_command(folder: Path) -> None:
    text = 'plugin = "tiny"\noperator = "hide"\ninput = ["scans/a.npy"]\nout = "out"\nsteps = 3\n'
    (folder / "run.toml").write_text(text)
    assert main(["reconstruct", "--config", "run.toml"]) == 0
    assert (folder / "out" / "restored.npy").is_file()


@pytest.mark.slow
def test_tables_of_a_configuration_file_are_nested_options(folder: Path) -> None:
    text = (
        'steps = 1\nbatch = 2\nsamples = 0\ntracker = ""\n[lora]\nrank = 2\n[dataset]\ncrop = 8\n'
    )
    (folder / "train.toml").write_text(text)
    assert main(["finetune", "tiny", "truth", "--out", "new", "--config", "train.toml"]) == 0
    assert (folder / "new" / "adapter").is_dir()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed = 5", "unknown key in run.toml: 'sed'. Did you mean 'seed'?"),
        ("[lora]\nrnk = 8", "unknown key in run.toml: 'lora.rnk'."),
        ('budget = "many"', 'unable to convert "many" into int'),
        ("n = = 3", "cannot read 'run.toml': it is not TOML"),
    ],
)
def test_a_wrong_configuration_file_is_one_line(
    folder: Path, text: str, expected: str, failure: Failure
) -> None:
    (folder / "run.toml").write_text(text)
    assert expected in failure(*RUN, "--config", "run.toml")
