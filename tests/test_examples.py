"""Every script of ``examples/`` runs, in smoke mode: smaller pictures, fewer steps."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sfumato as sf

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NAMES = [path.name for path in SCRIPTS]
SMOKE = {"SFUMATO_SMOKE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}


@pytest.mark.slow
@pytest.mark.examples
@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_an_example_runs(script: Path, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env=os.environ | SMOKE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_an_example_is_short_and_says_how_to_run_it(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.count("\n") <= 70
    assert f"python examples/{script.name}" in (ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_an_example_uses_public_names_only(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id == "sf"}  # fmt: skip
    assert used <= set(sf.__all__)
    assert not any(
        node.module.startswith("sfumato_image")
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    )  # fmt: skip
