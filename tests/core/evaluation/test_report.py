"""Reports: complete, self-contained, readable without pictures."""

from __future__ import annotations

import base64
import html
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pytest
import torch

from sfumato.evaluation.figures import LONGEST, grey, heat
from sfumato.evaluation.passages import percent
from sfumato.evaluation.report import Section, write_report
from sfumato.evaluation.scores import Scores
from sfumato.evaluation.wordings import gauge, run_facts, score_table, verdict
from sfumato.inverse.registry import METHODS
from sfumato.results import Result
from sfumato.signals import Signal


def example(*shape: int, n: int = 3, chi2: float = 1.0) -> Result:
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(n, *shape, generator=generator)
    return Result(
        samples=samples, measurement=samples[0] / 2, chi2=torch.full((n,), chi2),
        residual=torch.full((n,), 0.1), chi2_band=(0.9, 1.1), null_share=0.25, nfe=20, vjp=80,
        seconds=1.5, signal=Signal(samples[0], path=Path("photo.png")), rank=len(shape),
        record={
            "command": "sfumato reconstruct <x>", "seed": 0, "solver": "mmps", "reason": "linear",
            "versions": {"torch": "2"}, "notes": ["Noise estimated: 3/255."],
        },
    )  # fmt: skip


def page(result: Result, tmp_path: Path, reference: torch.Tensor | None = None) -> str:
    section = Section.from_result(result, reference=reference)
    return write_report(tmp_path / "report.html", [section]).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects tags, and checks that they nest."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(text: str) -> list[dict]:
    return [attributes for tag, attributes in Tags(text).found if tag == "img"]


def decoded(uri: str) -> torch.Tensor:
    data = base64.b64decode(uri.partition("base64,")[2])
    return torch.from_numpy(matplotlib.image.imread(io.BytesIO(data), format="png").copy())


def test_the_page_is_well_formed_and_names_its_language(tmp_path: Path) -> None:
    tags = Tags(page(example(3, 16, 16), tmp_path))
    assert tags.open == []
    assert ("html", {"lang": "en"}) in tags.found


def test_the_page_uses_nothing_outside_of_itself(tmp_path: Path) -> None:
    text = page(example(3, 16, 16), tmp_path)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"<(script|link|iframe)|@import|url\(", text)


def test_every_picture_is_embedded_and_described(tmp_path: Path) -> None:
    shown = pictures(page(example(3, 16, 16), tmp_path))
    assert all(one["src"].startswith("data:image/") and one["alt"] for one in shown)
    assert len(shown) == 4 + 3  # input, measurement, mean, standard deviation; three samples


def test_the_page_says_what_was_run_and_what_came_out(tmp_path: Path) -> None:
    text = html.unescape(page(example(3, 16, 16), tmp_path))
    for part in (
        "sfumato reconstruct <x>", "mmps", "linear", "torch 2", "Noise estimated: 3/255.",
        "25.0 % of the energy", "90 % interval, mean width", "20 per sample", "80 per sample",
        "1.5 s", "photo.png",
    ):  # fmt: skip
        assert part in text


def test_the_page_says_what_the_solver_is_and_costs(tmp_path: Path) -> None:
    method = METHODS["mmps"]
    text = html.unescape(page(example(3, 16, 16), tmp_path))
    assert method.kind in text
    assert f"{method.cost[1]} backward passes" in text


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    assert "<x>" not in page(example(3, 16, 16), tmp_path)


@pytest.mark.parametrize(
    ("chi2", "words", "fits"),
    [(1.0, "fit the measurement", True), (1.5, "contradict", False), (0.5, "follow", False)],
)
def test_the_verdict_is_in_words(chi2: float, words: str, fits: bool) -> None:
    result = example(3, 8, 8, chi2=chi2)
    assert words in verdict(result)
    assert Section.from_result(result).fits is fits


@pytest.mark.parametrize(("chi2", "mark"), [(1.0, "fits"), (1.5, "off"), (0.5, "near")])
def test_only_a_contradiction_is_marked_as_one(chi2: float, mark: str, tmp_path: Path) -> None:
    assert f'class="verdict {mark}"' in page(example(3, 8, 8, chi2=chi2), tmp_path)


def test_the_page_names_hashed_files_without_their_folder() -> None:
    facts = run_facts({"hashes": {"/home/me/private/photo.png": "ab12", "prior": "cd34"}})
    assert facts["Hashes"] == "photo.png ab12, prior cd34"


def test_without_noise_the_verdict_speaks_of_the_residual() -> None:
    result = example(3, 8, 8, chi2=float("nan"))
    assert "residual is 0.1" in verdict(result)
    assert gauge(result) is None


@pytest.mark.parametrize("chi2", [0.1, 0.95, 1.0, 40.0])
def test_band_and_value_lie_on_the_gauge_in_their_order(chi2: float) -> None:
    found = gauge(example(3, 8, 8, chi2=chi2))
    assert found is not None
    assert 0 <= min(found.low, found.mark) <= max(found.high, found.mark) <= 100
    assert found.low < found.high
    assert (found.mark >= found.low) == (chi2 >= 0.9)
    assert (found.mark <= found.high) == (chi2 <= 1.1)


def test_a_reference_adds_the_error_coverage_and_correlation(tmp_path: Path) -> None:
    result = example(3, 16, 16)
    text = page(result, tmp_path, reference=result.samples[0])
    for part in ("Absolute error of the mean", "90 % interval holds", "Correlation of std"):
        assert part in text


def test_one_sample_has_no_spread_to_show(tmp_path: Path) -> None:
    text = page(example(3, 16, 16, n=1), tmp_path)
    assert "Standard deviation" not in text
    assert "nan" not in re.sub(r'src="data:[^"]*"', "", text).lower()


def test_large_pictures_are_reduced_and_keep_their_proportions() -> None:
    figure = heat("a", torch.rand(1, 700, 2100), alt="b")
    assert (figure.width, figure.height) == (LONGEST, LONGEST // 3 + 0)


def test_three_channels_are_drawn_as_colours() -> None:
    figure = grey("a", torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 4, 4), alt="b")
    assert decoded(figure.uri)[0, 0, :3].tolist() == [1.0, 0.0, 0.0]


def test_a_map_is_dark_where_it_is_zero_and_bright_where_it_is_largest() -> None:
    values = torch.zeros(1, 4, 4)
    values[..., :2] = 2.0
    figure = heat("a", values, alt="b")
    brightness = decoded(figure.uri)[..., :3].sum(dim=-1)
    assert float(brightness[0, 0]) > 2.5
    assert float(brightness[0, 3]) < 0.1
    assert figure.scale == ("0", "2")


@pytest.mark.parametrize("shape", [(50,), (2, 50), (1, 8, 8), (2, 5, 8, 8)], ids=str)
def test_signals_of_any_rank_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert len(pictures(page(example(*shape), tmp_path))) >= 5


def test_complex_signals_are_drawn_by_their_modulus(tmp_path: Path) -> None:
    result = example(1, 8, 8)
    assert pictures(page(replace(result, measurement=result.measurement * 1j), tmp_path))


def test_a_batch_shows_its_first_item(tmp_path: Path) -> None:
    one = example(1, 8, 8)
    batch = replace(
        one, samples=one.samples[None], measurement=one.measurement[None], chi2=one.chi2[None],
        residual=one.residual[None],
    )  # fmt: skip
    assert page(batch, tmp_path) == page(one, tmp_path)


def test_several_sections_have_their_own_headings(tmp_path: Path) -> None:
    sections = [Section("First"), Section("Second")]
    path = write_report(tmp_path / "r.html", sections, title="Both", record={"seed": 0})
    text = path.read_text(encoding="utf-8")
    assert text.count("<h2>") == 2
    assert "<title>Both</title>" in text
    assert "<dt>Seed</dt><dd>0</dd>" in text


def test_scores_of_a_column_have_equal_decimals_and_meanings() -> None:
    result = replace(example(3, 40, 40), record={"plugin": "image"})
    scores = Scores({"psnr": 27.571, "mae": 0.0188}, {"psnr": math.inf, "mae": 0.021663}, 0.9, 0.5)
    truth = torch.zeros(3, 40, 40)
    table = score_table(scores, "image", truth, {"grey": truth})
    assert table == (
        ("", "psnr", "mae"),
        ("Posterior mean", "27.57", "0.01880"),
        ("One sample", "inf", "0.02166"),
        ("grey", "inf", "0.00000"),
    )
    section = Section.from_result(result, reference=truth)
    assert section.meanings["psnr"].startswith("Peak signal-to-noise ratio in dB")
    assert section.meanings.keys() == set(section.scores[0][1:])


def test_a_small_probability_is_not_shown_as_none() -> None:
    shown = [percent(p).replace("\N{NO-BREAK SPACE}", " ") for p in (0.0, 0.004, 0.006, 1.0)]
    assert shown == ["0 %", "<1 %", "1 %", "100 %"]
