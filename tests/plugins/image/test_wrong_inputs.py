"""Files and options that cannot be used, as people type them: one line, exit 2, nothing written."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sfumato.cli import main

FEW = ["-n", "2", "--steps", "2", "--device", "cpu"]
WEIGHTS = files("sfumato_image") / "weights" / "digits"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: NDArray[np.uint8]) -> Path:
    """A working folder with a good picture, and one of everything that is wrong."""
    monkeypatch.chdir(tmp_path)
    cat = Image.fromarray(photograph)
    cat.save("good.png")
    stream = io.BytesIO()
    cat.save(stream, "JPEG")
    Path("cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    Path("empty.png").write_bytes(b"")
    Path("text.png").write_text("not a picture\n")
    cat.convert("CMYK").save("cmyk.jpg")
    hole = photograph / np.float32(255)
    hole[3, 5] = np.nan
    tifffile.imwrite("nan.tif", hole, photometric="rgb")
    greys = {"small": (32, 24, 255), "full": (64, 48, 255), "none": (64, 48, 0), "even": (4, 5, 9)}
    for name, (width, height, grey) in greys.items():
        Image.new("L", (width, height), grey).save(f"{name}.png")
    np.save("zeros.npy", np.zeros((5, 5)))
    for place, name in (("used", "mine.txt"), ("notes", "a.txt")):
        Path(place).mkdir()
        Path(place, name).write_text("mine")
    Path("damaged").mkdir()
    Path("damaged/prior.json").write_text((WEIGHTS / "prior.json").read_text())
    content = (WEIGHTS / "prior.safetensors").read_bytes()
    Path("damaged/prior.safetensors").write_bytes(content[:-1000])
    return tmp_path


WRONG = {
    "denoise empty.png": "'empty.png': it is empty",
    "denoise cut.jpg": "'cut.jpg': it is damaged or cut short",
    "dejpeg cut.jpg": "'cut.jpg': it is damaged or cut short",
    "denoise text.png": "'text.png': it is not a PNG file",
    "denoise cmyk.jpg": "convert it to RGB first",
    "denoise nan.tif": "3 of 9216 values are NaN or infinite",
    "dejpeg good.png": "give the file as it was saved",
    "inpaint good.png": "give a mask file or a colour",
    "inpaint good.png --mask small.png": "24×32, expected 48×64 as the picture",
    "inpaint good.png --mask full.png": "marks every pixel as damaged",
    "inpaint good.png --mask none.png": "marks no pixel as damaged",
    "inpaint good.png --mask gone.png": "'gone.png': there is no such file",
    "deblur good.png --kernel even.png": "5×4, expected two odd sides",
    "deblur good.png --kernel zeros.npy": "all of it is zero",
    "deblur good.png --kernel gone.npy": "'gone.npy': there is no such file",
    "super-resolve good.png --factor 2.5": "--factor: 2.5; use a whole number",
    "denoise good.png --nois 3": "Did you mean --noise?",
    "denoise good.png --baseline biharmonic": "needs the operator of inpaint",
    "denoise good.png --prior damaged": "'damaged/prior.safetensors': it is damaged",
    "denoise notes": "it holds no image file",
}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def complaint(typed: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that must fail and leave every file as it is."""
    before = snapshot(folder)
    assert main(typed) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert snapshot(folder) == before
    return lines[0]


@pytest.mark.parametrize("typed", WRONG)
def test_what_cannot_be_restored_is_one_line(
    folder: Path, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(["reconstruct", "image", *typed.split(), "--out", "o", *FEW], folder, capsys)
    assert WRONG[typed] in line
    assert not (folder / "o").exists()


@pytest.mark.parametrize(
    ("out", "expected"),
    [("used", "--overwrite"), ("good.png", "--overwrite"), ("good.png/o", "good.png' is a file")],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_computed(
    folder: Path, out: str, expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def computed(*args: object, **options: object) -> None:
        raise AssertionError("it was computed")

    monkeypatch.setattr("sfumato.cli.reconstruct.solve", computed)
    typed = ["reconstruct", "image", "denoise", "good.png", "--out", out, *FEW]
    assert expected in complaint(typed, folder, capsys)


@pytest.mark.parametrize(
    ("data", "expected"),
    [("notes", "there are no pictures"), ("gone", "there is no such file or folder"),
     ("nan.tif", "values are NaN or infinite"), ("small.png", "less than the 64 asked for")],
)  # fmt: skip
def test_training_without_usable_pictures_is_refused(
    folder: Path, data: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["finetune", "image", data, "--out", "o", "--steps", "1"]
    assert expected in complaint(typed, folder, capsys)
    assert not (folder / "o").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["palette", "one pixel"])
def test_unusual_pictures_are_restored_in_their_own_size(folder: Path, kind: str) -> None:
    with Image.open("good.png") as image:
        odd = image.convert("P", palette=Image.Palette.ADAPTIVE) if kind == "palette" else (
            image.crop((0, 0, 1, 1))
        )  # fmt: skip
    odd.save("odd.png")
    methods = [f"--baseline={name}" for name in ("tv", "nlm", "wavelet")]
    typed = ["reconstruct", "image", "denoise", "odd.png", "--noise", "9", "--out", "o", *methods]
    assert main([*typed, *FEW]) == 0
    for path in [Path("o/restored.png"), *Path("o/baselines").iterdir()]:
        with Image.open(path) as restored:
            assert (restored.mode, restored.size) == ("RGB", odd.size)
