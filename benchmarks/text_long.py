"""Long gaps and rules: do posterior samples read as the prior writes?

    python benchmarks/text_long.py kjv.txt                about five minutes of one core
    python benchmarks/text_long.py kjv.txt --validation   the same on validation blocks

If samples of a gap follow the posterior, they cost on average as many bits under the prior, with
the text after the gap, as the text that was lost, as far as the prior is right. Writes
``benchmarks/results/text_long.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from sfumato import factors
from sfumato.denoisers.sequential import walk
from sfumato.factors.spans import Within
from sfumato.inverse.tokens.histories import Chained
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.processes import Absorbing
from sfumato_text.ngrams import NGrams
from sfumato_text.verses import split, verses
from text import LEFT, RIGHT, WEIGHTS, counted

RESULTS = Path(__file__).parent / "results" / "text_long.json"
COLUMNS = {
    "task": "Task", "items": "Gaps", "samples": "Bits per character, samples",
    "lost": "Bits per character, lost text", "evidence": "Bits of the known text given the gap",
    "distinct": "Distinct of 20 samples", "seconds": "CPU s",
}  # fmt: skip
FORMATS = dict.fromkeys(("samples", "lost"), ".2f") | {
    "evidence": ".1f", "distinct": ".1f", "seconds": ".2f",
}  # fmt: skip
SAMPLES = 20
Row = dict[str, Any]


def gap(
    model: NGrams, row: ndarray, size: int, seed: int, keyword: str = ""
) -> tuple[ndarray, Row]:
    """Samples of a row whose middle is lost, and what they are like."""
    sites = np.where(np.arange(model.tokens) == row[:, None], 0.0, -np.inf)
    sites[LEFT : LEFT + size] = 0
    rule = None
    if keyword:
        rule = Within(factors.keyword(keyword, list(model.alphabet)), LEFT, LEFT + size)
    table = torch.from_numpy(sites).expand(SAMPLES, -1, -1)
    problem = TokenProblem(Chained(Absorbing(model.tokens), model), table, rule)
    began = time.process_time()
    found = Lattice()(problem, Streams.count(seed, SAMPLES))
    seconds = time.process_time() - began
    x = found.x.numpy()
    bits = [-logs[LEFT:].sum() / math.log(2) for logs in walk(model, [*x, row])]
    each = size + RIGHT
    return x, {
        "samples": float(np.mean(bits[:-1])) / each, "lost": bits[-1] / each,
        "evidence": -float(found.log_evidence[0]) / math.log(2),
        "distinct": len({tuple(line) for line in x}), "seconds": seconds,
    }  # fmt: skip


def measured(model: NGrams, blocks: Sequence[str], n: int) -> Iterator[Row]:
    """All rows."""
    texts = [model.encode(block) for block in blocks]
    cases = [(15, ""), (30, ""), (60, ""), (60, "shepherd"), (60, "bread")]
    for size, keyword in cases:
        rng = np.random.default_rng(size)
        rows = []
        for item in range(n):
            text = texts[rng.integers(len(texts))]
            at = rng.integers(LEFT, len(text) - size - RIGHT)
            x, row = gap(model, text[at - LEFT : at + size + RIGHT], size, item, keyword)
            rows.append(row)
            if item < 2:
                print(repr("".join(model.alphabet[v] for v in x[0, LEFT - 20 :])))
        name = f"Gap of {size}" + f", has to hold “{keyword}”" * bool(keyword)
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        if keyword:  # the lost text did not obey the rule
            del means["lost"]
        yield {"task": name, "items": n, **means}


def write(path: Path, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Saves what is measured so far."""
    command = f"python benchmarks/text_long.py kjv.txt --gaps {options.gaps}"
    report = {
        "command": command + " --validation" * options.validation,
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        "columns": COLUMNS, "formats": FORMATS, "rows": rows,
        "note": f"The n-grams of `kjv`, {'validation' if options.validation else 'test'} blocks; "
        f"{LEFT} characters before and {RIGHT} after the gap are known. Bits per character of gap "
        f"and what follows, given what precedes, by the chain rule: means over {SAMPLES} samples, "
        "and of the text that was lost.",
    }  # fmt: skip
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--gaps", type=int, default=30, help="of each kind")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = split(verses(options.verses))
    blocks = parts.validation if options.validation else parts.test
    rows = []
    for row in measured(counted(WEIGHTS), blocks, options.gaps):
        print(json.dumps(row, ensure_ascii=False), flush=True)
        rows.append(row)
        if options.out is not None or not options.validation:
            write(options.out or RESULTS, rows, options)


if __name__ == "__main__":
    main()
