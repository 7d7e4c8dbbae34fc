"""Makes the picture of the README from the folder that ``sfumato demo`` writes.

sfumato demo --out demo && python docs/pictures/make.py demo docs/pictures/demo.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SCENES = {"inpaint": "scratches", "super-resolve": "64×64", "deblur": "blur, noise 2/255"}
COLUMNS = ("measured", "posterior mean", "one sample", "standard deviation", "truth")
SIDE, GAP, HEAD = 224, 6, 22


def main(folder: Path, target: Path) -> None:
    """Writes one row per scene."""
    width = len(COLUMNS) * (SIDE + GAP) - GAP
    sheet = Image.new("RGB", (width, HEAD + len(SCENES) * (SIDE + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        draw.text((column * (SIDE + GAP) + SIDE / 2, HEAD / 2), title, "black", anchor="mm")
    for row, scene in enumerate(SCENES):
        for column, picture in enumerate(pictures(folder / scene)):
            place = (column * (SIDE + GAP), HEAD + row * (SIDE + GAP))
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.BOX), place)
    sheet.save(target, quality=88)


def pictures(folder: Path) -> list[Image.Image]:
    """Measured, mean, sample, spread, truth; transparent damage is shown in magenta."""
    files = ("input.png", "restored.png", "samples/000.png", "std.png", "truth.png")
    found = [Image.open(folder / name) for name in files]
    spread = np.asarray(found[3].convert("RGB"), dtype=np.float64).mean(axis=2)
    scaled = np.clip(spread / max(np.quantile(spread, 0.995), 1.0), 0, 1)
    found[3] = Image.fromarray((255 * scaled).astype(np.uint8))
    holes = Image.new("RGBA", found[0].size, "magenta")
    flat = Image.alpha_composite(holes, found[0].convert("RGBA"))
    return [flat.convert("RGB"), *(picture.convert("RGB") for picture in found[1:])]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
