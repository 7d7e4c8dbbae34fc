"""Pictures beside the survey's numbers: what samplers make of 10, 20 and 50 evaluations.

    python benchmarks/survey_pictures.py              into docs/pictures/survey-GROUP.png
    python benchmarks/survey_pictures.py --smoke --out FOLDER      one sampler, few points

One picture per group of samplers, one row per sampler. Left, for each number of evaluations, where
1500 samples of the ring fall (its five Gaussians are circled); right, the same five digits of the
bundled prior from the same noise. Grids and ends are those of ``survey.py``; empty where a sampler
needs more evaluations, or data to measure on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

import sfumato as sf
from sfumato.denoisers import Condition
from survey_targets import BUDGETS, END, Source, ring

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
GROUPS = {
    "flow": ("ddim", "heun", "dpm-solver-2s", "dpm-solver-3s", "pndm"),
    "multistep": ("dpm-solver", "dpm-solver-3m", "deis", "ipndm", "unipc"),
    "noise": ("ddpm", "ddpm-calibrated", "sde-dpm-solver", "sa-solver", "gibbs"),
}
LABELS = (1, 3, 5, 6, 9)
TILE, GAP, HEAD, NAME = 56, 4, 16, 96
REACH = 1.8
"""Of a panel of the ring, from the centre to the edge, in the ring's radius."""


class BundledDigits(Source):
    """The bundled prior, without the classifier that scores it."""

    end = END

    def __init__(self) -> None:
        prior = sf.Prior.load("digits", plugin="image")
        self.prior, self.items, self.shape = prior, len(LABELS), (1, 28, 28)
        self.denoiser = prior.sized(self.shape)

    def condition(self, first: int, count: int) -> Condition:
        return {"label": torch.tensor(LABELS[first : first + count])}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one sampler; no use as a result")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    torch.set_num_threads(1)
    groups = {"smoke": ("ddim",)} if given.smoke else GROUPS
    points, digits = ring(50 if given.smoke else 1500), BundledDigits()
    for group, names in groups.items():
        sheet(points, digits, names).save(given.out / f"survey-{group}.png", optimize=True)


def sheet(points: Source, digits: Source, names: tuple[str, ...]) -> Image.Image:
    """All panels of a group."""
    wide = TILE + GAP
    left, right = NAME, NAME + len(BUDGETS) * wide + 2 * GAP
    width = right + len(BUDGETS) * (len(LABELS) * TILE // 2 + 2 * GAP)
    page = Image.new("L", (width, HEAD + len(names) * wide), 255)
    draw = ImageDraw.Draw(page)
    for column, budget in enumerate(BUDGETS):
        block = len(LABELS) * TILE // 2 + 2 * GAP
        draw.text((left + column * wide + TILE / 2, HEAD / 2), str(budget), 0, anchor="mm")
        draw.text((right + column * block + block / 2, HEAD / 2), str(budget), 0, anchor="mm")
    for row, name in enumerate(names):
        top = HEAD + row * wide
        draw.text((2, top + TILE / 2), name, 0, anchor="lm")
        for column, budget in enumerate(BUDGETS):
            if (x := samples(points, name, budget)) is not None:
                page.paste(panel(x), (left + column * wide, top))
            if (x := samples(digits, name, budget)) is not None:
                place = right + column * (len(LABELS) * TILE // 2 + 2 * GAP)
                page.paste(strip(x), (place, top + TILE // 4))
        print(name, flush=True)
    return page.quantize(16)


def samples(target: Source, name: str, budget: int) -> Tensor | None:
    plan = target.plan(name, budget)
    return None if plan is None else target.draw(plan)


def panel(x: Tensor) -> Image.Image:
    """Where points of the plane fall, darker where there are more."""
    place = ((x / REACH + 1) / 2 * TILE).floor().long()
    place = place[((place >= 0) & (place < TILE)).all(dim=1)]
    count = torch.zeros(TILE, TILE)
    count.index_put_((place[:, 1], place[:, 0]), torch.ones(len(place)), accumulate=True)
    dark = (count / 4).clamp(max=1).sqrt()
    image = Image.fromarray((255 * (1 - dark)).byte().numpy())
    draw = ImageDraw.Draw(image)
    for k in range(5):  # two standard deviations around each mean
        angle = torch.tensor(k * torch.pi * 2 / 5)
        middle = [(float(f) / REACH + 1) / 2 * TILE for f in (angle.cos(), angle.sin())]
        radius = 0.3 / REACH / 2 * TILE
        draw.ellipse([*(m - radius for m in middle), *(m + radius for m in middle)], outline=150)
    draw.rectangle([0, 0, TILE - 1, TILE - 1], outline=200)
    return image


def strip(x: Tensor) -> Image.Image:
    """Digits side by side, dark on light."""
    grey = (x[:, 0].clamp(-1, 1) + 1) / 2
    return Image.fromarray((255 * (1 - torch.cat(list(grey), dim=1))).round().byte().numpy())


if __name__ == "__main__":
    main()
