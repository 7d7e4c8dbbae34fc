"""Pages that tesseract has misread, corrected with the shipped prior of King James text.

    python benchmarks/text_ocr.py kjv.txt           test blocks, about five minutes of one core
    python benchmarks/text_ocr.py kjv.txt --quick   validation blocks, a quarter of the pages

``kjv.txt`` as ``examples/priors/kjv.py`` wants it. The channel is counted on pages of validation
blocks, which are not those that are corrected. Writes ``benchmarks/results/text_ocr.json``. Seconds
are CPU seconds of one thread. Needs tesseract and EB Garamond (``benchmarks/pages.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import sfumato as sf
from pages import Print, needed, pages, read
from sfumato.inverse.tokens.histories import leading_chain
from sfumato.token_priors import TokenPrior
from sfumato_text.channels import Channel, ocr
from sfumato_text.estimation import estimate
from sfumato_text.files.documents import document_of, text_of
from sfumato_text.metrics import (
    cer_reduction,
    character_error_rate,
    clean,
    fix_rate,
    over_correction,
)

RESULTS = Path(__file__).parent / "results" / "text_ocr.json"
SIZE = 1500
ESTIMATED = 12
PRINTS = (Print("blurred", 2.7), Print("more blurred", 3.0))
ROUTES: dict[str, dict[str, Any]] = {
    "substitutions": {"edits": False},
    "substitutions, losses, insertions": {},
}
COLUMNS = {
    "print": "Print", "route": "Route", "pages": "Pages", "characters": "Characters",
    "before": "CER before", "after": "CER after", "reduction": "Relative CER reduction",
    "over": "Over-correction", "fix": "Fix rate", "unchanged": "Clean text unchanged",
    "seconds": "CPU s per page",
}  # fmt: skip
FORMATS = {
    **dict.fromkeys(("before", "after", "over", "unchanged"), ".4f"),
    **dict.fromkeys(("reduction", "fix"), ".3f"), "seconds": ".1f",
}  # fmt: skip
Row = dict[str, Any]
Page = tuple[sf.Signal, str]


def seen(quality: Print, chosen: Sequence[list[str]], folder: Path) -> list[Page]:
    """Pages as tesseract reads them, with their truth."""
    plugin = sf.load_plugin("text")
    found = []
    for number, verses in enumerate(chosen):
        name = f"{quality.name.replace(' ', '-')}-{number}"
        path = read(quality.image(verses, seed=number), folder, name)
        found.append((plugin.read(path), "\n".join(verses)))
    return found


def counted(others: Sequence[Page]) -> Channel:
    """The channel of pages with their truth; line ends count as blanks."""
    pairs = [(clean(document_of(signal).text), clean(truth)) for signal, truth in others]
    return estimate(pairs, base=ocr(), edits=True, name="tesseract")


@cache
def loaded() -> TokenPrior:
    """The prior, which counts its n-grams when it is asked for the first time."""
    prior = sf.Prior.load("kjv", plugin="text")
    assert isinstance(prior, TokenPrior)
    leading_chain(prior.denoiser)
    return prior


def corrected(chosen: Sequence[Page], options: dict[str, Any]) -> tuple[list[str], float]:
    """Restored texts, and seconds per page."""
    task = sf.load_plugin("text").operator("denoise-ocr", **options)
    prior = loaded()
    began = time.process_time()
    texts = [text_of(sf.reconstruct(prior, task, page, n=1).estimate) for page, _ in chosen]
    return texts, (time.process_time() - began) / len(chosen)


def measured(chosen: Sequence[Page], options: dict[str, Any], folder: Path) -> Row:
    """What a route does to misread pages, and to the same pages without a mistake."""
    texts, seconds = corrected(chosen, options)
    plugin, path = sf.load_plugin("text"), folder / "clean.txt"
    kept = []
    for _, truth in chosen:
        path.write_text(truth, encoding="utf-8")
        ((text,), _) = corrected([(plugin.read(path), truth)], options)
        kept.append(1 - over_correction(truth, text, truth))
    before, after, truth = (
        "\n".join(map(clean, part))
        for part in ([document_of(p).text for p, _ in chosen], texts, [t for _, t in chosen])
    )
    return {
        "pages": len(chosen), "characters": len(truth),
        "before": character_error_rate(before, truth),
        "after": character_error_rate(after, truth),
        "reduction": cer_reduction(before, after, truth),
        "over": over_correction(before, after, truth), "fix": fix_rate(before, after, truth),
        "unchanged": sum(kept) / len(kept), "seconds": seconds,
    }  # fmt: skip


def rows(path: Path, quick: bool, each: int) -> Iterator[Row]:
    """All rows."""
    from sfumato_text.verses import split, verses

    parts = split(verses(path))
    # every other validation page is counted, so that the quick run corrects other ones
    others = pages(parts.validation[::2], SIZE)[:ESTIMATED]
    blocks = parts.validation[1::2] if quick else parts.test
    chosen = pages(blocks[:: max(len(blocks) // each, 1)], SIZE)[:each]
    for quality in PRINTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file = counted(seen(quality, others, folder)).save(folder / "channel.json")
            found = seen(quality, chosen, folder)
            for route, options in ROUTES.items():
                row = measured(found, {"channel": str(file), **options}, folder)
                yield {"print": quality.name, "route": route, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pages", type=int, default=6, help="of each print")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    reader = needed()
    os.environ["OMP_THREAD_LIMIT"] = "1"  # tesseract's
    torch.set_num_threads(1)
    each = max(arguments.pages // 4, 1) if arguments.quick else arguments.pages
    done = []
    for row in rows(arguments.verses, arguments.quick, each):
        done.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        report = {
            "command": "python benchmarks/text_ocr.py kjv.txt"
            + " --quick" * arguments.quick
            + f" --pages {arguments.pages}" * (arguments.pages != 6),
            "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}, {reader}",
            "columns": COLUMNS,
            "formats": FORMATS,
            "note": "King James text, "
            f"{'validation' if arguments.quick else 'test'} blocks, set in EB Garamond and read by "
            "tesseract with every character's confidence and choices; the channel is counted on "
            f"{ESTIMATED} other pages. Blanks of any length and line ends count as one blank. "
            "Clean text is the page's true text given to the same operator; over-correction is the "
            "share of right characters that were changed, fix rate that of wrong ones. Seconds are "
            "without those that loading the prior takes.",
            "rows": done,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
