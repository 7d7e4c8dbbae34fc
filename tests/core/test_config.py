"""Configurations: what is written comes back, and what no field has is refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.config import from_mapping, from_toml, to_mapping, to_toml, write_toml
from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError


@dataclass(frozen=True)
class Inner:
    rank: int = 8
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    steps: int
    rate: float = 0.5
    name: str = "x"
    on: bool = False
    kind: Literal["a", "b"] = "a"
    noise: float | Literal["auto"] = "auto"
    folder: Path | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    inner: Inner | None = None


SETTINGS = st.builds(
    Settings,
    steps=st.integers(-(2**63), 2**63 - 1),
    rate=st.floats(allow_nan=False),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    on=st.booleans(),
    kind=st.sampled_from(["a", "b"]),
    noise=st.floats(0, 100) | st.just("auto"),
    folder=st.none() | st.just(Path("a b/ü")),
    betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    inner=st.none() | st.builds(Inner, rank=st.integers(1, 9), targets=st.just(("x.*", 'y"z'))),
)


@settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(SETTINGS)
def test_a_configuration_comes_back_from_toml_as_it_was(config: Settings) -> None:
    assert from_mapping(Settings, tomllib.loads(to_toml(config))) == config


def test_a_configuration_comes_back_from_a_file(tmp_path: Path) -> None:
    config = Settings(3, inner=Inner(4))
    assert from_toml(Settings, write_toml(config, tmp_path / "a.toml")) == config


def test_none_is_left_out(tmp_path: Path) -> None:
    assert "folder" not in to_mapping(Settings(3))


def test_a_whole_number_is_a_fine_float() -> None:
    assert from_mapping(Settings, {"steps": 1, "rate": 2}).rate == 2.0


@pytest.mark.parametrize(
    ("values", "near"),
    [({"steps": 1, "rat": 2}, "'rate'"), ({"steps": 1, "inner": {"rnk": 2}}, "'rank'")],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(values: dict, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean {near}"):
        from_mapping(Settings, values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"steps": 1.5}, "expected a whole number"),
        ({"steps": True}, "expected a whole number"),
        ({"steps": "3"}, "expected a whole number"),
        ({"steps": 1, "rate": "fast"}, "expected a number"),
        ({"steps": 1, "on": 1}, "expected true or false"),
        ({"steps": 1, "kind": "c"}, "expected 'a' or 'b'"),
        ({"steps": 1, "noise": "loud"}, "expected a number or 'auto'"),
        ({"steps": 1, "betas": [0.9]}, "expected a list of 2"),
        ({"steps": 1, "betas": 0.9}, "expected a list"),
        ({"steps": 1, "inner": 3}, "does not fit"),
        ({}, "'steps' is missing"),
    ],
)
def test_a_value_of_another_type_is_an_error_that_says_what_is_expected(
    values: dict, expected: str
) -> None:
    with pytest.raises(InvalidOptionError, match=expected):
        from_mapping(Settings, values)


def test_an_error_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("steps = 1\n[inner]\nrank = 'x'\n")
    with pytest.raises(InvalidOptionError, match=r"run\.toml: inner: rank"):
        from_toml(Settings, path)


@pytest.mark.parametrize("content", [None, b"steps = = 1", b"\xff\xfe"])
def test_a_file_that_is_missing_or_not_toml_is_an_error_naming_it(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"run\.toml"):
        from_toml(Settings, path)
