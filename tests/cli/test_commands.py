"""Each command, end to end, with a small plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sfumato.cli import main

Answer = Callable[[], dict]
Failure = Callable[..., str]

FAST = ["-n", "2", "--steps", "3", "--device", "cpu"]
RUN = ["reconstruct", "tiny", "hide", "scans/a.npy", "--out", "out", *FAST]


def test_plugins_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert "Arrays of numbers." in capsys.readouterr().out


def test_plugins_describes_one_with_its_operators_and_solvers(answer: Answer) -> None:
    assert main(["plugins", "tiny", "--json"]) == 0
    found = answer()
    assert found["operators"]["hide"] == "Fill in hidden elements."
    assert found["priors"] == ["small"]
    assert found["solvers"]


def test_reconstruct_writes_files_of_the_same_kind_a_report_and_the_record(folder: Path) -> None:
    assert main(RUN) == 0
    names = {path.name for path in (folder / "out").iterdir()}
    assert names >= {"restored.npy", "std.npy", "samples", "report.html", "run.json"}
    assert len(list((folder / "out" / "samples").iterdir())) == 2
    assert np.load(folder / "out" / "restored.npy").shape == (1, 8, 8)


def test_reconstruct_records_command_seed_versions_and_hashes(folder: Path) -> None:
    main([*RUN, "--seed", "7"])
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["command"].startswith("sfumato reconstruct tiny hide scans/a.npy")
    assert record["seed"] == 7
    assert record["versions"]["tiny-domain"] == "1.5"
    assert len(record["hashes"]["scans/a.npy"]) == 64


def test_reconstruct_repeats_itself(folder: Path) -> None:
    for out in ("one", "two"):
        assert main([*RUN[:4], "--out", out, *FAST]) == 0
    assert (np.load("one/restored.npy") == np.load("two/restored.npy")).all()


def test_reconstruct_gives_every_file_of_a_folder_its_own_results(folder: Path) -> None:
    assert main(["reconstruct", "tiny", "hide", "scans", "--out", "out", *FAST]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a", "b"]
    assert (folder / "out" / "b" / "restored.npy").is_file()


def test_reconstruct_takes_a_pattern(folder: Path) -> None:
    assert main(["reconstruct", "tiny", "hide", "scans/?.npy", "--out", "out", *FAST]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a", "b"]


def test_reconstruct_passes_the_options_of_the_operator_on(folder: Path) -> None:
    main([*RUN, "--pattern", "odd", "--noise", "0.2", "--share", "0.25"])
    record = json.loads((folder / "out" / "run.json").read_text())
    for part in ("noise=0.2", "share=0.25", "pattern='odd'"):
        assert part in record["operator"]


def test_reconstruct_compares_with_baselines(folder: Path) -> None:
    assert main([*RUN, "--baseline", "pinv"]) == 0
    assert (folder / "out" / "baselines" / "pinv.npy").is_file()
    assert "Baseline: pinv" in (folder / "out" / "report.html").read_text()


def test_reconstruct_answers_scripts_with_one_object(folder: Path, answer: Answer) -> None:
    assert main([*RUN, "--json"]) == 0
    found = answer()
    assert found["ok"] is True
    assert found["results"][0]["restored"] == "out/restored.npy"
    assert found["results"][0]["samples"] == 2


def test_degrade_writes_a_measurement_that_depends_on_the_seed(folder: Path) -> None:
    for seed in ("1", "2"):
        typed = ["degrade", "tiny", "hide", "truth/a.npy", "--out", f"y{seed}.npy"]
        assert main([*typed, "--noise", "0.3", "--seed", seed]) == 0
    assert (np.load("y1.npy") != np.load("y2.npy")).any()


def test_sample_writes_files_and_a_page(folder: Path) -> None:
    assert (
        main(["sample", "tiny", "--out", "drawn", "-n", "3", "--steps", "2", "--label", "1"]) == 0
    )
    names = sorted(path.name for path in (folder / "drawn").iterdir())
    assert names == ["000.npy", "001.npy", "002.npy", "report.html", "run.json"]


def test_evaluate_gives_metrics_coverage_and_correlation(
    folder: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(RUN)
    capsys.readouterr()
    typed = ["evaluate", "out", "--reference", "truth/a.npy", "--report", "page.html", "--json"]
    assert main(typed) == 0
    found = answer()["results"]["out"]
    assert found["folder"] == "out"
    assert found["mean"]["mse"] <= found["sample"]["mse"]
    assert 0 <= found["coverage_90"] <= 1
    assert -1 <= found["std_error_correlation"] <= 1
    assert "Absolute error" in (folder / "page.html").read_text()


def test_evaluate_pairs_the_results_of_a_folder_with_true_files_of_the_same_name(
    folder: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["reconstruct", "tiny", "hide", "scans", "--out", "out", *FAST])
    capsys.readouterr()
    assert main(["evaluate", "out", "--reference", "truth", "--json"]) == 0
    assert set(answer()["results"]) == {"a", "b"}


def test_explain_says_which_solver_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tiny", "hide"]) == 0
    assert "default" in capsys.readouterr().out


def test_explain_lists_the_samplers_and_what_is_missing(
    answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "tiny", "--samplers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("unipc ") and line.endswith("yes") for line in lines)
    assert any("analytic-dpm" in line and "needs data to measure on" in line for line in lines)
    assert main(["explain", "tiny", "--samplers", "--json"]) == 0
    rows = {row["name"]: row for row in answer()["samplers"]}
    assert set(rows["ddim"]["priors"].values()) == {"yes"}
    assert rows["ddim"]["cost"] == 1


def test_explain_without_an_operator_says_what_to_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tiny"]) != 0
    assert "--samplers" in capsys.readouterr().err


@pytest.mark.slow
def test_finetune_writes_a_prior_that_reconstruct_takes(folder: Path) -> None:
    typed = ["finetune", "tiny", "truth", "--out", "tuned", "--steps", "2", "--batch", "2"]
    assert main([*typed, "--lora.rank", "2", "--tracker", "", "--dataset.crop", "8"]) == 0
    assert main([*RUN, "--prior", "tuned"]) == 0


def test_demo_runs_the_plugin_s_own(folder: Path) -> None:
    assert main(["demo", "tiny", "--out", "story", "--seed", "5"]) == 0
    assert (folder / "story" / "report.html").read_text() == "seed 5"


def test_help_for_an_operator_lists_its_fields_with_their_documentation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reconstruct", "tiny", "weigh", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--share" in text
    assert "Share of the rows that is hidden." in text  # from the class that it extends
    assert "File of weights." in text
    assert "Power of the weights." in text  # below the field
    assert "--table" not in text  # a tensor cannot be typed


def test_evaluate_prints_a_table_for_people(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(RUN)
    assert main(["evaluate", "out", "--reference", "truth/a.npy"]) == 0
    assert "truth inside the 90 % interval" in capsys.readouterr().out
