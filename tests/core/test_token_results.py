"""Results over tokens survive a folder, and say what they know."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.errors import CheckpointError, OutputExistsError
from sfumato.inverse.tokens.tasks import Alternatives, Readings
from sfumato.token_results import TokenResult


def codes(text: str) -> torch.Tensor:
    return torch.tensor([ord(sign) for sign in text])


def result(*, plugin: str = "text", misfit: tuple[float, ...] | None = (0.25, 0.0)) -> TokenResult:
    """Three of four characters observed, two samples of different lengths."""
    found = Readings(
        codes("a<bc"), torch.tensor([1.0, 0.5, 1.0, 0.9], dtype=torch.float64),
        (codes("a<bc"), codes("axxbc")), torch.tensor([False, True, False, False]),
        sf.Signal(codes("a<bc")),
        (Alternatives(1, 2, (codes("<"), codes("xx")), (0.5, 0.25), "line 1, column 2"),),
        None if misfit is None else torch.tensor(misfit), (0.0, 0.2), notes=("a note",),
    )  # fmt: skip
    record = {"plugin": plugin, "solver": "lattice", "reason": "why", "notes": ["a note"]}
    return TokenResult.of(
        found, log_evidence=-3.5, effective=math.nan, nfe=2.0, seconds=0.1, record=record,
        trace=({"step": 1.0},), source=sf.Signal(codes("abc")),
    )  # fmt: skip


def test_everything_comes_back_from_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("sfumato_text")
    before = result()
    after = TokenResult.load(before.save(tmp_path / "out"))
    for name in ("estimate", "confidence", "altered", "misfit"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    assert all(torch.equal(a, b) for a, b in zip(after.samples, before.samples, strict=True))
    (place,) = after.alternatives
    assert (place.start, place.stop, place.where) == (1, 2, "line 1, column 2")
    assert place.probabilities == (0.5, 0.25)
    assert [x.tolist() for x in place.readings] == [codes("<").tolist(), codes("xx").tolist()]
    assert after.log_evidence == -3.5
    assert math.isnan(after.effective)
    assert after.source is not None
    assert torch.equal(after.source.data, codes("abc"))
    assert after.record == before.record
    assert after.summary() == before.summary()


def test_no_noise_means_no_misfit(tmp_path: Path) -> None:
    pytest.importorskip("sfumato_text")
    clean = result(misfit=None)
    assert clean.consistent is None
    after = TokenResult.load(clean.save(tmp_path / "out"))
    assert after.consistent is None
    assert json.loads((tmp_path / "out" / "run.json").read_text())["misfit"] is None


def test_the_mean_misfit_is_held_against_its_band() -> None:
    assert result(misfit=(0.25, 0.0)).consistent is True
    assert result(misfit=(0.25, 0.25)).consistent is False


def test_expected_errors_are_what_the_probabilities_leave() -> None:
    assert result().expected_errors == pytest.approx(0.6)


def test_a_page_shows_signs_as_they_are_and_needs_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("sfumato_text")
    page = (result().save(tmp_path / "out") / "report.html").read_text()
    assert "a<bc" not in page
    assert "&lt;" in page
    assert "http" not in page.replace("http://www.w3.org", "").split("<body")[-1]


def test_a_result_without_a_plugin_is_saved_as_numbers(tmp_path: Path) -> None:
    folder = result(plugin="").save(tmp_path / "out")
    assert not list(folder.glob("restored*"))
    assert torch.equal(TokenResult.load(folder).estimate, codes("a<bc"))


def test_a_folder_in_use_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        result(plugin="").save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["run.json", "readings.json", "result.safetensors"])
def test_a_damaged_folder_is_named(tmp_path: Path, name: str) -> None:
    folder = result(plugin="").save(tmp_path / "out")
    (folder / name).write_text("{")
    with pytest.raises(CheckpointError, match="out"):
        TokenResult.load(folder)
