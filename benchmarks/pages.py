"""Printed pages of verses, and what tesseract reads of them.

A page is set in a serif font, a verse to a paragraph, then blurred, made smaller and given noise,
until a good reader makes mistakes. Needs Pillow, Debian's ``tesseract-ocr`` and
``fonts-ebgaramond``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["FONT", "Print", "needed", "pages", "read"]

FONT = Path("/usr/share/fonts/opentype/ebgaramond/EBGaramond12-Regular.otf")
INK, PAPER = 20, 245
SIZE, WIDTH, MARGIN, INDENT, LEADING = 44, 1500, 100, 50, 57  # pixels before a page is made smaller


@dataclass(frozen=True)
class Print:
    """How badly a page is reproduced.

    Args:
        name: For people.
        blur: Standard deviation of the blur, in pixels of the large page.
        scale: How much smaller the page is made.
        noise: Standard deviation of the noise, in grey levels of 256.
    """

    name: str
    blur: float
    scale: float = 0.35
    noise: float = 10.0

    def image(self, verses: Sequence[str], seed: int) -> Image.Image:
        """A page."""
        font = ImageFont.truetype(str(FONT), SIZE)
        lines = [line for verse in verses for line in broken(verse, font)]
        page = Image.new("L", (WIDTH + 2 * MARGIN, LEADING * len(lines) + 2 * MARGIN), PAPER)
        pen = ImageDraw.Draw(page)
        for number, (indent, line) in enumerate(lines):
            pen.text((MARGIN + indent, MARGIN + number * LEADING), line, fill=INK, font=font)
        size = int(page.width * self.scale), int(page.height * self.scale)
        small = page.filter(ImageFilter.GaussianBlur(self.blur)).resize(
            size, Image.Resampling.BILINEAR
        )
        grey = np.asarray(small).astype(float)
        grey += np.random.default_rng(seed).normal(0, self.noise, grey.shape)
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def broken(verse: str, font: ImageFont.FreeTypeFont) -> Iterator[tuple[int, str]]:
    """The lines of a verse, each with its indent."""
    indent, line = INDENT, ""
    for word in verse.split(" "):
        longer = f"{line} {word}" if line else word
        if line and font.getlength(longer) > WIDTH - indent:
            yield indent, line
            indent, line = 0, word
        else:
            line = longer
    yield indent, line


def pages(blocks: Sequence[str], size: int) -> list[list[str]]:
    """The first verses of each block, until there are ``size`` characters."""
    found = []
    for block in blocks:
        page: list[str] = []
        for verse in block.splitlines():
            page.append(verse)
            if sum(map(len, page)) + len(page) > size:
                break
        found.append(page)
    return found


def read(picture: Image.Image, folder: Path, name: str) -> Path:
    """What tesseract says of a picture: hOCR with every character's confidence and choices."""
    image = folder / f"{name}.png"
    picture.save(image, dpi=(105, 105))
    command = ["tesseract", str(image), str(folder / name), "--psm", "6", "-l", "eng"]
    settings = ["-c", "hocr_char_boxes=1", "-c", "lstm_choice_mode=2", "hocr"]
    subprocess.run([*command, *settings], check=True, capture_output=True)
    return folder / f"{name}.hocr"


def needed() -> str:
    """The version of tesseract; ends the program with a message if something is missing."""
    program = shutil.which("tesseract")
    if program is None:
        sys.exit("tesseract is missing: install it with 'apt install tesseract-ocr'")
    if not FONT.is_file():
        sys.exit(f"{FONT} is missing: install it with 'apt install fonts-ebgaramond'")
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return (said.stdout or said.stderr).splitlines()[0]
