"""The rules of the architecture that import-linter cannot see."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sfumato as sf

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("core/sfumato/**/*.py"), *ROOT.glob("plugins/*/**/*.py")])
PROJECT = [p for p in SOURCES if "/weights/" not in p.as_posix()]
LIGHT = ["sfumato", "sfumato.errors", "sfumato.plugin", "sfumato.registry", "sfumato.config",
         "sfumato.cli"]  # fmt: skip
LIGHT += sorted(path.name for path in ROOT.glob("plugins/sfumato_*") if path.is_dir())
HEAVY = ("torch", "numpy", "matplotlib", "PIL")


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = fresh(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins"]], ids=" ".join)
def test_a_listing_command_imports_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys, sfumato.cli\n"
        f"try: sfumato.cli.main({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = fresh(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sf.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(sf, name) is getattr(sf, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'reconstrut'"):
        sf.reconstrut  # noqa: B018


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse((ROOT / "core/sfumato/__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}  # fmt: skip
    assert seen | {"__version__"} == set(sf.__all__)


def test_no_verb_is_the_name_of_a_module() -> None:
    modules = {path.stem for path in (ROOT / "core/sfumato").iterdir()}
    from sfumato import HOMES

    assert not modules & set(HOMES)


@pytest.mark.parametrize("path", PROJECT, ids=names(PROJECT))
def test_a_module_is_short_and_has_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    assert ast.get_docstring(ast.parse(text)), "no docstring"


@pytest.mark.parametrize("path", PROJECT, ids=names(PROJECT))
def test_a_module_leaves_the_global_state_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    forbidden = r"\b(torch\.manual_seed|np\.random\.seed|random\.seed|torch\.set_default_\w+)\("
    assert not re.search(forbidden, text)
    assert "torch.inference_mode" not in text, "a VJP may follow"
    assert not re.search(r"pickle\.(load|dump)", text), "pickles can run code"
    for call in re.findall(r"torch\.load\(.*?\)", text, re.DOTALL):
        assert "weights_only=True" in call, "pickles can run code"


@pytest.mark.parametrize("path", PROJECT, ids=names(PROJECT))
def test_a_module_is_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError", text)
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("path", PROJECT, ids=names(PROJECT))
def test_what_a_module_exports_exists(path: Path) -> None:
    source = path.relative_to(ROOT)
    parts = list(source.with_suffix("").parts[1:])
    if parts[-1] in {"__init__", "__main__"}:
        parts.pop()
    module = importlib.import_module(".".join(parts))
    for name in getattr(module, "__all__", []):
        assert hasattr(module, name), name


def test_the_version_is_that_of_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{sf.__version__}"' in text
