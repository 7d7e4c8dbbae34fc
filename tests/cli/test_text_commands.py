"""The commands on texts: files in, files of the same kind out, one line for what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sfumato.cli import main

pytest.importorskip("sfumato_text")

Answer = Callable[[], dict]
Failure = Callable[..., str]

CLEAN = "the value of the attribute is\nthe object is called by the method\n"
DAMAGED = "the value of the attri[...]e is\r\nthe object is cal[..]d by the method\r\n"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a clean, a damaged and a noisy text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean.txt").write_text(CLEAN)
    (tmp_path / "damaged.txt").write_bytes(DAMAGED.encode())
    (tmp_path / "noisy.txt").write_text(CLEAN.replace("called", "calked").replace("value", "valne"))
    return tmp_path


@pytest.fixture
def prior(small_prior_folder: Path) -> list[str]:
    return ["--prior", str(small_prior_folder)]


def test_plugins_lists_operators_with_the_solvers_of_tokens(answer: Answer) -> None:
    assert main(["plugins", "text", "--json"]) == 0
    found = answer()
    assert set(found["operators"]) == {"fill", "restore", "respell", "constrain", "denoise-ocr"}
    assert "lattice" in found["solvers"]
    assert "ddnm" not in found["solvers"]


def test_fill_writes_the_text_with_brackets_and_everything_else_as_it_was(
    desk: Path, prior: list[str], answer: Answer
) -> None:
    assert main(["reconstruct", "text", "fill", "damaged.txt", *prior, "-n", "2", "--json"]) == 0
    found = answer()["results"][0]
    folder = desk / "damaged-fill"
    assert found["restored"] == "damaged-fill/restored.txt"
    restored = (folder / "restored.txt").read_bytes().decode()
    pattern = re.escape(DAMAGED).replace(r"\[\.\.\.\]", r"\[...\]").replace(r"\[\.\.\]", r"\[..\]")
    assert re.fullmatch(pattern, restored)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "restored.txt", "samples", "readings.json", "result.safetensors", "run.json", "report.html",
    }  # fmt: skip
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["000.txt", "001.txt"]
    places = json.loads((folder / "readings.json").read_text())["places"]
    assert [place["where"] for place in places] == ["line 1, column 23", "line 2, column 18"]
    record = json.loads((folder / "run.json").read_text())
    assert record["solver"] == "lattice"
    assert len(record["hashes"]["damaged.txt"]) == 64


def test_a_run_repeats_itself(desk: Path, prior: list[str]) -> None:
    for out in ("one", "two"):
        assert main(["reconstruct", "text", "fill", "damaged.txt", *prior, "--out", out]) == 0
    for name in ("restored.txt", "readings.json", "samples/003.txt"):
        assert (desk / "one" / name).read_bytes() == (desk / "two" / name).read_bytes()


def test_restore_and_evaluate_say_what_was_won(
    desk: Path, prior: list[str], answer: Answer
) -> None:
    typed = ["reconstruct", "text", "restore", "noisy.txt", *prior, "--rate", "0.03", "--out", "o"]
    assert main([*typed, "--json"]) == 0
    answer()
    assert (desk / "o" / "restored.txt").read_text() == CLEAN
    typed = ["evaluate", "o", "--reference", "clean.txt", "--report", "page.html"]
    assert main([*typed, "--json"]) == 0
    (row,) = answer()["results"].values()
    assert row["input"]["cer"] == pytest.approx(2 / len(CLEAN), rel=0.05)
    assert row["estimate"]["cer"] == 0
    assert row["estimate"]["exact"] == 1
    assert "cer" in (desk / "page.html").read_text()


def test_constrain_takes_words_and_a_pattern(desk: Path, prior: list[str]) -> None:
    (desk / "ruled.txt").write_text("the object is [---] by the method\n")
    typed = ["reconstruct", "text", "constrain", "ruled.txt", *prior, "--out", "o", "-n", "3"]
    rules = ["--pattern", "[a-z ]*", "--keyword", "called", "--never", "not", "--length", "8-10"]
    assert main([*typed, *rules]) == 0
    for path in (desk / "o" / "samples").iterdir():
        text = path.read_text()[len("the object is ") : -len(" by the method\n")]
        assert re.fullmatch("[a-z ]{8,10}", text)
        assert "called" in text
        assert "not" not in text


def test_respell_takes_the_shares_of_errors(desk: Path, prior: list[str]) -> None:
    (desk / "a.txt").write_text("the objct is caalled by the method\n")
    typed = ["reconstruct", "text", "respell", "a.txt", *prior, "--out", "o", "-n", "1"]
    assert main([*typed, "--rate", "0.02", "--lost", "0.03", "--inserted", "0.03"]) == 0
    assert (desk / "o" / "restored.txt").read_text() == "the object is called by the method\n"


def test_degrade_and_fill_follow_each_other(desk: Path, prior: list[str]) -> None:
    assert main(["degrade", "text", "fill", "clean.txt", "--out", "y.txt", "--seed", "3"]) == 0
    damaged = (desk / "y.txt").read_text()
    assert damaged.count("[.....]") >= 1
    assert main(["reconstruct", "text", "fill", "y.txt", *prior, "--out", "o", "-n", "1"]) == 0
    restored = (desk / "o" / "restored.txt").read_text()
    assert len(restored.replace("[", "").replace("]", "")) == len(CLEAN)


def test_degrade_reads_files_as_it_is_told(desk: Path, failure: Failure) -> None:
    (desk / "b.txt").write_bytes("a text of caf\xe9s".encode("latin-1"))
    typed = ["degrade", "text", "fill", "b.txt", "--out", "y.txt", "--seed", "3"]
    assert "b.txt" in failure(*typed)
    assert main([*typed, "--format.encoding", "latin-1"]) == 0
    assert (desk / "y.txt").read_bytes().count(b"[") > 0


def test_degrade_passes_a_text_through_a_channel(desk: Path) -> None:
    for seed in ("1", "2"):
        typed = ["degrade", "text", "restore", "clean.txt", "--out", f"y{seed}.txt"]
        assert main([*typed, "--rate", "0.3", "--channel", "ocr", "--seed", seed]) == 0
    a, b = (desk / "y1.txt").read_text(), (desk / "y2.txt").read_text()
    assert len(a) == len(b) == len(CLEAN)
    assert a != b


def test_sample_writes_texts_and_a_page(desk: Path, prior: list[str]) -> None:
    assert main(["sample", "text", *prior, "--out", "drawn", "-n", "2", "--shape", "40"]) == 0
    names = sorted(path.name for path in (desk / "drawn").iterdir())
    assert names == ["000.txt", "001.txt", "report.html", "run.json"]
    assert all(len((desk / "drawn" / n).read_text()) == 40 for n in names[:2])


def test_explain_names_the_default_and_what_others_lack(
    desk: Path, prior: list[str], answer: Answer
) -> None:
    assert main(["explain", "text", "fill", "damaged.txt", *prior, "--json"]) == 0
    found = answer()
    assert found["default"] == "lattice"
    assert {"lattice", "twisted", "gibbs"} <= {row["name"] for row in found["rows"]}


def test_counts_are_fine_tuned_by_counting(
    desk: Path, prior: list[str], corpus: str, answer: Answer
) -> None:
    """New words are known afterwards, and old ones still."""
    (desk / "letters").mkdir()
    lines = [f"the xylophone of number {n} is called zither\n" for n in "abcdefghij" * 8]
    (desk / "letters" / "a.txt").write_text("".join(lines))
    typed = ["finetune", "text", "letters", *prior, "--out", "tuned", "--dataset.length", "40"]
    assert main([*typed, "--json"]) == 0
    training = answer()["training"]
    assert training["bits_per_token"] < 1
    (desk / "a.txt").write_text("the xylo[.....] of the attri[...]e\n")
    typed = ["reconstruct", "text", "fill", "a.txt", "--prior", "tuned", "--out", "o", "-n", "1"]
    assert main(typed) == 0
    assert (desk / "o" / "restored.txt").read_text() == "the xylo[phone] of the attri[but]e\n"


@pytest.mark.slow
def test_networks_are_fine_tuned_by_descent(
    desk: Path, small_prior: object, corpus: str, answer: Answer
) -> None:
    from sfumato.token_priors import Expert, TokenPrior
    from sfumato_text.backbones.towers import Towers

    assert isinstance(small_prior, TokenPrior)
    options = {
        "tokens": small_prior.process.tokens, "width": 16, "layers": 1, "heads": 2, "hidden": 32,
        "reach": 32,
    }  # fmt: skip
    network = TokenPrior.of(
        [Expert("towers", Towers(**options), options)], small_prior.process, small_prior.codec,
        plugin="text", card={"name": "network"},
    )  # fmt: skip
    network.save(desk / "network")
    (desk / "corpus.txt").write_text(corpus[:6000])
    typed = ["finetune", "text", "corpus.txt", "--prior", "network", "--out", "tuned", "--json"]
    settings = ["--steps", "3", "--batch", "2", "--validation-items", "2", "--samples", "1",
                "--dataset.length", "32", "--tracker", ""]  # fmt: skip
    assert main([*typed, *settings]) == 0
    assert answer()["training"]["validation_loss"] > 0
    (sample,) = (desk / "tuned" / "samples").rglob("*.txt")
    assert len(sample.read_text()) == 32


def test_a_page_is_self_contained_and_shows_signs_as_they_are(desk: Path, prior: list[str]) -> None:
    (desk / "a.txt").write_text("the >object> is cal[..]d by\n")
    assert main(["reconstruct", "text", "fill", "a.txt", *prior, "--out", "o", "-n", "1"]) == 0
    page = (desk / "o" / "report.html").read_text()
    assert "the &gt;object&gt; is cal" in page
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "<script src" not in page


FILES = {
    "unknown.txt": b"caf\xe9 au lait [..]\n",
    "empty.txt": b"",
    "nogaps.txt": b"the object is called\n",
    "marker.txt": b"the object\nis [... called\n",
    "foreign.txt": "the obj€ct is cal[..]d\n".encode(),
    "mask.txt": b"the <mask> is cal[..]d\n",
    "long.txt": b"the [--900--] is\n",
    "odd.pdf": b"%PDF",
}
FILL = ["reconstruct", "text", "fill"]
RULE = ["reconstruct", "text", "constrain", "damaged.txt"]
WRONG = {
    "unknown encoding": ([*FILL, "unknown.txt"], ["unknown.txt", "utf-8"]),
    "empty file": ([*FILL, "empty.txt"], ["empty.txt"]),
    "empty file to restore": (["reconstruct", "text", "restore", "empty.txt"], ["empty.txt"]),
    "no gaps": ([*FILL, "nogaps.txt"], ["there are no gaps in it", "[...]"]),
    "marker": ([*FILL, "marker.txt"], ["line 2, column 4", "never closed"]),
    "foreign character": ([*FILL, "foreign.txt"], ["'€' (U+20AC) at line 1, column 8", "nearest"]),
    "literal mask": ([*FILL, "mask.txt"], ["'<' (U+003C)"]),
    "too long": ([*FILL, "long.txt"], ["900 characters are lost", "400"]),
    "unknown notation": ([*FILL, "damaged.txt", "--notation", "leidn"], ["Did you mean 'leiden'?"]),
    "suffix": ([*FILL, "odd.pdf"], ["suffix '.pdf'"]),
    "regex": ([*RULE, "--pattern", "(ab"], ["position"]),
    "contradiction": ([*RULE, "--starts", "ab", "--never", "a"], ["nothing agrees"]),
    "length": ([*RULE, "--length", "many"], ["write it as 40 or 30-50"]),
    "no rule": (RULE, ["no rule is given"]),
    "channel": (["reconstruct", "text", "restore", "noisy.txt", "--channel", "tpyo"], ["typo"]),
    "rate": (["reconstruct", "text", "restore", "noisy.txt", "--rate", "2"], ["0 < rate < 1"]),
    "solver": ([*FILL, "damaged.txt", "--solver", "dps"], ["dps"]),
    "baseline": ([*FILL, "damaged.txt", "--baseline", "tv"], ["tv"]),
    "corpus of other signs": (["finetune", "text", "foreign.txt", "--out", "t"], ["U+20AC"]),
    "short corpus": (["finetune", "text", "nogaps.txt", "--out", "t"], ["smaller length"]),
    "no corpus": (["finetune", "text", "gone", "--out", "t"], ["there is no such file"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    desk: Path, prior: list[str], case: str, failure: Failure
) -> None:
    for name, data in FILES.items():
        (desk / name).write_bytes(data)
    typed, expected = WRONG[case]
    line = failure(*typed, *prior)
    for part in expected:
        assert part in line
    assert not list(desk.glob("*-fill")) + list(desk.glob("*-constrain")) + list(desk.glob("t/*"))


def test_a_sign_that_the_alphabet_lacks_is_found_where_the_file_has_it(
    desk: Path, prior: list[str], failure: Failure
) -> None:
    (desk / "sign.txt").write_text("the value of the attri[...]e is\nthe ob[..]ct ☃ is\n")
    said = failure("reconstruct", "text", "fill", "sign.txt", *prior)
    assert "sign.txt" in said
    assert "line 2, column 14" in said


def test_a_number_of_steps_is_refused_where_there_are_none(
    desk: Path, prior: list[str], failure: Failure
) -> None:
    said = failure("reconstruct", "text", "fill", "damaged.txt", *prior, "--steps", "5")
    assert "'lattice' does not" in said
    assert "clamp" in said


def test_field_and_encoding_of_files_are_options(
    desk: Path, prior: list[str], failure: Failure
) -> None:
    rows = [{"text": "é", "body": "the value of the attri[...]e is"}]
    (desk / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (desk / "b.txt").write_bytes("the object is cal[..]d by é".encode("latin-1"))
    typed = ["reconstruct", "text", "fill", *prior, "-n", "1", "--foreign", "nearest"]
    assert main([*typed, "a.jsonl", "--format.field", "body", "--out", "o"]) == 0
    assert "[" in json.loads((desk / "o" / "restored.jsonl").read_text())["body"]
    assert main([*typed, "b.txt", "--format.encoding", "latin-1", "--out", "p"]) == 0
    assert (desk / "p" / "restored.txt").read_bytes().endswith(b"d by \xe9")
    (desk / "c.txt").write_bytes("\xe9 the meth[..]d".encode("latin-1"))
    assert main([*typed, "b.txt", "c.txt", "--format.encoding", "latin-1", "--out", "q"]) == 0
    ends = [path.read_bytes() for path in sorted((desk / "q").rglob("restored.txt"))]
    assert [b"\xe9" in end for end in ends] == [True, True]
    said = failure(*typed, "b.txt", "--format.field", "body")
    assert "field" in said


def test_a_prior_with_the_tokeniser_of_another_is_refused(
    desk: Path, small_prior_folder: Path, failure: Failure
) -> None:
    import shutil

    shutil.copytree(small_prior_folder, desk / "mixed")
    path = desk / "mixed" / "prior.json"
    description = json.loads(path.read_text())
    description["codec"]["alphabet"].append("Z")
    path.write_text(json.dumps(description))
    line = failure(*FILL, "damaged.txt", "--prior", "mixed")
    assert "49 tokens" in line
    assert "48" in line


def test_an_operator_of_texts_refuses_a_prior_of_pictures(
    desk: Path, site: Path, failure: Failure
) -> None:
    assert "plugin 'tiny'" in failure(
        *FILL, "damaged.txt", "--prior", str(site / "tiny_domain/weights")
    )
