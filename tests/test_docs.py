"""The documentation is current, and its Python blocks run."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import sfumato as sf

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
SYBIL = Sybil(parsers=[SkipParser(), PythonCodeBlockParser()])


def blocks(path: Path) -> Document:
    return SYBIL.parse(path)


WITH_CODE = [path for path in PAGES if "```python" in path.read_text(encoding="utf-8")]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name, small enough to be quick."""
    skimage = pytest.importorskip("skimage")
    import numpy as np
    from PIL import Image

    photo = skimage.data.astronaut()[40:88, 190:238]
    mask = np.zeros((48, 48), np.uint8)
    mask[20:26, 10:38] = 255
    scratched = np.where(mask[..., None] > 0, 255, photo).astype(np.uint8)
    offset = np.arange(-3, 4)
    kernel = np.exp(-(offset[:, None] ** 2 + offset**2) / 4)
    (tmp_path / "pictures").mkdir()
    for index, corner in enumerate((0, 60, 120, 180)):
        crop = skimage.data.chelsea()[corner : corner + 64, 100:164]
        Image.fromarray(crop).save(tmp_path / "pictures" / f"{index}.png")
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(scratched).save(tmp_path / "scratched.png")
    Image.fromarray(mask).save(tmp_path / "scratches.png")
    Image.fromarray(photo[::4, ::4]).save(tmp_path / "small.png")
    Image.fromarray((kernel / kernel.max() * 255).astype(np.uint8)).save(tmp_path / "kernel.png")
    line = "He that loveth pleasure shall be a [....] man.\n"
    (tmp_path / "damaged.txt").write_text(line, encoding="utf-8")
    torn = "In the beginning God cre[...] the heaven and the [---].\n"
    (tmp_path / "torn.txt").write_text(torn, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@functools.cache
def tables() -> ModuleType:
    path = ROOT / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("benchmarks_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_generated_tables_are_current(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert tables().filled(text) == text, "run: python benchmarks/tables.py"


@pytest.mark.slow
@pytest.mark.examples
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("path", WITH_CODE, ids=[path.name for path in WITH_CODE])
def test_python_blocks_run(path: Path) -> None:
    for example in blocks(path).examples():
        example.evaluate()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("command", ["quickstart", "tests"])
def test_the_readme_has_the_commands_that_are_checked(command: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        len(re.findall(rf"^<!-- command:{command} -->\n```\w*\n.+\n```$", text, re.MULTILINE)) == 1
    )


def test_the_check_script_is_valid_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_version_stands_in_the_changelog_and_in_the_citation() -> None:
    assert f"## {sf.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {sf.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_a_table_keeps_the_order_and_the_precision_of_its_source() -> None:
    result = {
        "command": "python x.py",
        "columns": {"name": "Name", "error": "Error"},
        "rows": [
            {"name": "a|b", "error": -0.01234},
            {"name": "c"},
            {"name": "d", "error": [30.456, 0.1]},
        ],
    }
    assert tables().from_result(result).splitlines() == [
        "| Name | Error |",
        "| --- | --- |",
        "| a∣b | −0.0123 |",
        "| c | – |",
        "| d | 30.5 ± 0.1 |",
        "",
        "Made by `python x.py`.",
    ]


def test_a_view_that_would_show_nothing_is_an_error() -> None:
    view = tables().View("truth", (), "no such problem")
    with pytest.raises(ValueError, match="no row of 'truth'"):
        view.of({"columns": {}, "rows": [{"problem": "Gaussian", "prior": "mean"}]})


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_no_generated_table_is_empty(path: Path) -> None:
    for _, name, content, _ in tables().REGION.findall(path.read_text(encoding="utf-8")):
        rows = [line for line in content.splitlines() if line.startswith("| ")]
        assert len(rows) > 2 or content.startswith("*Not measured yet"), name
