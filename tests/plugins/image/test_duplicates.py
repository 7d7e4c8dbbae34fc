"""The training photographs of the shipped prior are in no evaluation set."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data as bundled

from sfumato_image.duplicates import difference_hash, matches

EVALUATED = ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "coins", "brick")


@pytest.fixture(scope="module")
def manifest() -> dict[str, int]:
    path = Path(str(files("sfumato_image"))) / "weights" / "photo" / "manifest.json"
    return {row["path"]: int(row["dhash"], 16) for row in json.loads(path.read_text("utf-8"))}


def photograph(name: str) -> Image.Image:
    return Image.fromarray(np.asarray(getattr(bundled, name)()))


def test_a_resized_mirrored_recoloured_copy_is_found() -> None:
    original = photograph("chelsea")
    copy = ImageEnhance.Contrast(original.resize((180, 120))).enhance(0.8)
    copy = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    found = matches([("copy", copy)], {"chelsea": difference_hash(original)})
    assert [match.other for match in found] == ["chelsea"]


def test_unrelated_pictures_are_not_duplicates() -> None:
    assert (
        matches([("coffee", photograph("coffee"))], {"cat": difference_hash(photograph("chelsea"))})
        == []
    )


def test_no_bundled_evaluation_picture_was_trained_on(manifest: dict[str, int]) -> None:
    assert matches([(name, photograph(name)) for name in EVALUATED], manifest) == []


@pytest.mark.parametrize("folder", ["CBSD68", "Set12"])
def test_no_literature_picture_was_trained_on(folder: str, manifest: dict[str, int]) -> None:
    root = Path(os.environ.get("SFUMATO_DATA", "")) / "images" / folder
    if not os.environ.get("SFUMATO_DATA") or not root.is_dir():
        pytest.skip("set SFUMATO_DATA to a folder with images/CBSD68 and images/Set12")
    pictures = [(path.name, Image.open(path)) for path in sorted(root.rglob("*.png"))]
    assert pictures
    assert matches(pictures, manifest) == []
