"""Does the network help? The shipped prior's counts alone, and with the network that advises them.

    python benchmarks/text_advised.py kjv.txt                about ten minutes of one core
    python benchmarks/text_advised.py kjv.txt --validation   the same on validation blocks

Both are asked as people ask them: by the operators ``fill`` and ``restore``, with default options.
Every gap and every noisy text is given to both. Writes ``benchmarks/results/text_advised.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import sfumato as sf
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato.token_priors import TokenPrior
from sfumato_text.files.documents import codes_of, text_of
from sfumato_text.metrics import character_error_rate
from sfumato_text.operators import Constrain, Fill, Restore
from sfumato_text.reliability import calibration_error
from sfumato_text.verses import split, verses

RESULTS = Path(__file__).parent / "results" / "text_advised.json"
COLUMNS = {
    "task": "Task", "prior": "Prior", "items": "Number", "exact": "Exact",
    "characters": "Characters right", "reduction": "Relative CER reduction",
    "over": "Over-correction", "ece": "ECE", "seconds": "CPU s",
}  # fmt: skip
FORMATS = dict.fromkeys(("exact", "characters", "reduction", "ece"), ".3f") | {
    "over": ".4f", "seconds": ".2f",
}  # fmt: skip
CONTEXT = 100
PATTERN = "(and|the) (king|lords) said( [a-z]{2,7}){2,} .*"  # 37 states
Row = dict[str, Any]


def gaps(prior: TokenPrior, blocks: Sequence[str], size: int, n: int) -> Row:
    """Fills gaps of known length with ``context`` characters around them."""
    draw = random.Random(size)
    right, stated, came = 0, [], []
    began = time.process_time()
    for _ in range(n):
        block = draw.choice(blocks)
        at = draw.randrange(len(block) - size)
        low, high = max(0, at - CONTEXT), min(len(block), at + size + CONTEXT)
        before, hole, after = block[low:at], block[at : at + size], block[at + size : high]
        signal = Signal(codes_of(f"{before}[.{size}.]{after}"))
        found = sf.reconstruct(prior, Fill(), signal, n=1)
        filled = text_of(found.estimate)[len(before) : len(before) + size]
        right += filled == hole
        stated += found.confidence[len(before) : len(before) + size].tolist()
        came += [a == b for a, b in zip(filled, hole, strict=True)]
    return {
        "task": f"Gap of {size}", "items": n, "exact": right / n,
        "characters": sum(came) / len(came), "ece": calibration_error(stated, came, bins=15),
        "seconds": (time.process_time() - began) / n,
    }  # fmt: skip


def noise(prior: TokenPrior, blocks: Sequence[str], rate: float, n: int) -> Row:
    """Corrects texts of 1,000 characters, of which a share was replaced by any others."""
    text, task = "".join(blocks), Restore(rate=rate)
    alphabet = list(prior.codec.pieces)
    starts = random.Random(round(100 * rate)).sample(range(len(text) // 1000), n)
    before = after = right = harmed = 0.0
    stated, came = [], []
    began = time.process_time()
    for index, start in enumerate(starts):
        truth = text[1000 * start : 1000 * start + 1000]
        streams = Streams.count(index, 1).spawn("noise")
        read = task.stated.degrade(truth, streams, alphabet=alphabet)
        found = sf.reconstruct(prior, task, Signal(codes_of(read)), n=1)
        restored = text_of(found.estimate)
        before += character_error_rate(read, truth)
        after += character_error_rate(restored, truth)
        own = [a == b for a, b in zip(read, truth, strict=True)]
        now = [a == b for a, b in zip(restored, truth, strict=True)]
        right += sum(own)
        harmed += sum(a and not b for a, b in zip(own, now, strict=True))
        stated += found.confidence.tolist()
        came += now
    return {
        "task": f"Substitutions, {rate:.0%}", "items": 1000 * n, "reduction": 1 - after / before,
        "over": harmed / right, "ece": calibration_error(stated, came, bins=15),
        "seconds": (time.process_time() - began) / n,
    }  # fmt: skip


def rules(prior: TokenPrior, n: int) -> Row:
    """Writes 256 characters that match a pattern; the first run, which counts, is not timed."""
    task, signal = Constrain(pattern=PATTERN), Signal(codes_of("And it came to pass, that [.256.]"))
    written, began = 0, 0.0
    for seed in range(n + 1):
        if seed == 1:
            began = time.process_time()
        found = sf.reconstruct(prior, task, signal, n=1, seed=seed)
        written += bool(re.fullmatch(PATTERN, text_of(found.samples[0])[26:]))
    return {
        "task": "Pattern of 37 states, 256 characters, obeyed", "items": n,
        "exact": written / (n + 1), "seconds": (time.process_time() - began) / n,
    }  # fmt: skip


def measured(blocks: Sequence[str], many: int, texts: int) -> Iterator[Row]:
    """All rows; both priors see the same damage."""
    both = sf.Prior.load("kjv", plugin="text")
    assert isinstance(both, TokenPrior)
    priors = {"counts": both.with_experts(both.experts[:1]), "counts, advised": both}
    for size in (1, 2, 5, 10):
        for name, prior in priors.items():
            yield {"prior": name, **gaps(prior, blocks, size, many)}
    for rate in (0.05, 0.1, 0.2):
        for name, prior in priors.items():
            yield {"prior": name, **noise(prior, blocks, rate, texts)}
    for name, prior in priors.items():
        yield {"prior": name, **rules(prior, 10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--gaps", type=int, default=100, help="of each length")
    parser.add_argument("--texts", type=int, default=8, help="of 1,000 characters for each rate")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = split(verses(options.verses))
    blocks = parts.validation if options.validation else parts.test
    rows = []
    for row in measured(blocks, options.gaps, options.texts):
        print(json.dumps(row), flush=True)
        rows.append(row)
    if options.validation and options.out is None:
        return
    report = {
        "command": f"python benchmarks/text_advised.py kjv.txt --gaps {options.gaps} "
        f"--texts {options.texts}",
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        "columns": COLUMNS, "formats": FORMATS, "rows": rows,
        "note": "Test blocks; every gap and text is given to both. The estimate of a gap is the "
        "reading that most of 200 draws share. CPU seconds per gap or per 1,000 characters.",
    }  # fmt: skip
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    (options.out or RESULTS).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
