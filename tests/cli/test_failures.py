"""What goes wrong is one line and exit code 2, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sfumato.cli import main

Answer = Callable[[], dict]
Failure = Callable[..., str]

FAST = ["-n", "2", "--steps", "3", "--device", "cpu"]
RUN = ["reconstruct", "tiny", "hide", "scans/a.npy", "--out", "out", *FAST]


TYPOS = [
    (["reconstrct", "tiny"], 'Did you mean "reconstruct"?'),
    (["reconstruct", "tinny", "hide", "scans/a.npy"], "Did you mean 'tiny'?"),
    (["reconstruct", "tiny", "hid", "scans/a.npy"], "Did you mean 'hide'?"),
    ([*RUN, "--patern", "odd"], "Did you mean --pattern?"),
    ([*RUN, "--prior", "smal"], "Did you mean 'small'?"),
    ([*RUN, "--solver", "mmp"], "unknown solver 'mmp'."),
    ([*RUN, "--baseline", "pinvv"], "Did you mean 'pinv'?"),
    (["reconstruct", "--pattern", "odd", "tiny", "hide", "scans/a.npy"], "right after"),
    (["finetune", "tiny", "truth", "--out", "new", "--dataset.crp", "8"], "Did you mean 'crop'?"),
]


@pytest.mark.parametrize(("typed", "hint"), TYPOS, ids=[hint for _, hint in TYPOS])
def test_a_typo_gets_a_suggestion(
    folder: Path, typed: list[str], hint: str, failure: Failure
) -> None:
    assert hint in failure(*typed)


WRONG = {
    "no such file": (["reconstruct", "tiny", "hide", "gone.npy"], "there is no such file"),
    "unknown format": (["reconstruct", "tiny", "hide", "scans/notes.txt"], "suffix '.txt'"),
    "damaged file": (["reconstruct", "tiny", "hide", "broken.npy"], "it is no array"),
    "empty pattern": (["reconstruct", "tiny", "hide", "*.xyz"], "no file matches"),
    "folder without data": (["reconstruct", "tiny", "hide", "empty"], "it holds no tiny file"),
    "value of an option": ([*RUN, "--share", "3"], "use a number from 0 to 1"),
    "number": ([*RUN, "--seed", "x"], 'unable to convert "x" into int'),
    "fraction": ([*RUN, "--seed=1.5"], "--seed: 1.5; use a whole number"),
    "fraction, short": ([*RUN, "-n", "2.5"], "-n: 2.5; use a whole number"),
    "fraction in a table": (
        ["finetune", "tiny", "truth", "--out", "new", "--lora.rank", "8.5"], "use a whole number",
    ),
    "fraction in a file": ([*RUN, "--config", "half.toml"], "--batch: 0.5; use a whole number"),
    "count": (["reconstruct", "tiny", "hide", "scans/a.npy", "-n", "0"], "--n: 0; use 1 or more"),
    "device": (
        ["reconstruct", "tiny", "hide", "scans/a.npy", "--device", "warp"],
        "device: 'warp' cannot be used",
    ),
    "damaged prior": ([*RUN, "--prior", "damaged"], "cannot use"),
    "not a prior": ([*RUN, "--prior", "scans"], "no prior.json"),
    "class": ([*RUN, "--label", "9"], "use 0 to 2"),
    "training step count": (
        ["finetune", "tiny", "truth", "--out", "new", "--steps", "0"], "use 1 or more",
    ),
    "empty training folder": (["finetune", "tiny", "empty", "--out", "new"], "it holds no array"),
    "result folder": (["evaluate", "scans", "--reference", "truth/a.npy"], "no 'run.json'"),
    "demo": (["demo", "tinny"], "Did you mean 'tiny'?"),
    "suffix to write": (
        ["degrade", "tiny", "hide", "truth/a.npy", "--out", "y.png"], "cannot write 'y.png'",
    ),
    "missing argument": (["reconstruct", "tiny", "hide"], "--input"),
    "config without a name": ([*RUN, "--config"], "no file is named"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    folder: Path, case: str, failure: Failure
) -> None:
    (folder / "broken.npy").write_bytes(b"no array")
    (folder / "empty").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "prior.json").write_text("{")
    (folder / "half.toml").write_text("batch = 0.5")
    typed, expected = WRONG[case]
    assert expected in failure(*typed)
    assert not (folder / "out").exists()


def test_an_error_is_an_object_for_scripts(answer: Answer) -> None:
    assert main(["plugins", "tinny", "--json"]) == 2
    found = answer()
    assert found["ok"] is False
    assert found["error"]["type"] == "UnknownNameError"


def test_an_output_folder_in_use_stays_as_it_is(folder: Path, failure: Failure) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("mine")
    assert "--overwrite" in failure(*RUN)
    assert [path.name for path in (folder / "out").iterdir()] == ["mine.txt"]


def test_only_a_run_can_be_resumed(folder: Path, failure: Failure) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("mine")
    assert "--overwrite" in failure("finetune", "tiny", "truth", "--out", "out", "--resume")
    assert [path.name for path in (folder / "out").iterdir()] == ["mine.txt"]


def test_overwriting_keeps_what_sfumato_did_not_write(folder: Path) -> None:
    main(RUN)
    (folder / "out" / "mine.txt").write_text("mine")
    assert main([*RUN, "--overwrite", "--seed", "3"]) == 0
    assert (folder / "out" / "mine.txt").read_text() == "mine"
    assert json.loads((folder / "out" / "run.json").read_text())["seed"] == 3


def test_a_run_that_fails_leaves_the_earlier_results_and_no_litter(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    main(RUN)
    before = (folder / "out" / "restored.npy").read_bytes()
    names = sorted(folder.iterdir())

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device", "std.npy")

    monkeypatch.setattr("tiny_domain.parts.Npy.write", full)
    assert "No space left on device" in failure(*RUN, "--overwrite", "--seed", "3")
    assert (folder / "out" / "restored.npy").read_bytes() == before
    assert sorted(folder.iterdir()) == names


def test_an_interrupted_run_exits_with_130_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tiny_domain.parts.Npy.write", interrupted)
    assert main(RUN) == 130
    assert capsys.readouterr().err.startswith("sfumato: interrupted")
    assert not (folder / "out").exists()


def test_the_module_runs_like_the_command() -> None:
    command = [sys.executable, "-m", "sfumato", "plugins", "tinny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
