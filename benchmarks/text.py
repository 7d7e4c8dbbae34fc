"""The shipped n-gram prior on text that it has not seen: bits, gaps, noise, edits, calibration.

    python benchmarks/text.py kjv.txt           about five minutes of one core
    python benchmarks/text.py kjv.txt --quick   validation blocks, a tenth of the items
    python benchmarks/text.py kjv.txt --only edits page    some rows; the others stay

``kjv.txt`` as ``examples/priors/kjv.py`` wants it. All numbers are of the test blocks. Writes
``benchmarks/results/text.json``. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors.torch import load_file

from sfumato.denoisers.ended import Ended
from sfumato.denoisers.sequential import Sequential
from sfumato.factors import Edits
from sfumato.inverse.tokens.histories import Chained, grouped
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.lattices import Limits, Rows, Smoothed, smooth
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.processes import Absorbing
from sfumato_text.adaptation import adapted
from sfumato_text.backbones.counts import Counts
from sfumato_text.channels import Channel, uniform
from sfumato_text.corpora import pydoc
from sfumato_text.metrics import cer_reduction, character_error_rate
from sfumato_text.ngrams import NGrams
from sfumato_text.operators.respell import ending
from sfumato_text.operators.votes import votes
from sfumato_text.reliability import calibration_error
from sfumato_text.verses import split, verses
from text_bits import likelihoods

RESULTS = Path(__file__).parent / "results" / "text.json"
WEIGHTS = Path(__file__).parents[1] / "plugins" / "sfumato_text" / "weights" / "kjv"
LEFT, RIGHT = 60, 40
CONFIDENCE = 0.6  # the operators' default
COLUMNS = {
    "task": "Task", "method": "Method", "items": "Number", "bits": "Bits per character",
    "exact": "Exact", "characters": "Characters right", "cer": "CER before → after",
    "reduction": "Relative CER reduction", "over": "Over-correction", "ece": "ECE",
    "confidence": "Mean confidence", "wrong": "Confidence where wrong", "seconds": "CPU s",
}  # fmt: skip
FORMATS = {
    "bits": ".3f",
    **dict.fromkeys(("exact", "characters", "reduction", "ece", "confidence", "wrong"), ".3f"),
    "over": ".4f",
    "seconds": ".2f",
}
GROUPS = ("bits", "gaps", "page", "noise", "edits", "foreign")
Row = dict[str, Any]


def counted(folder: Path) -> NGrams:
    """The n-gram expert of a prior."""
    experts = json.loads((folder / "prior.json").read_text(encoding="utf-8"))["experts"]
    index = [expert["backbone"] for expert in experts].index("counts")
    counts, start = Counts(**experts[index]["options"]), f"{index}."
    tensors = load_file(folder / "prior.safetensors")
    counts.load_state_dict(
        {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    )
    return counts.model


def solved(chain: Sequential, sites: ndarray) -> list[Smoothed]:
    """The posterior of each row, with as many histories as the solver takes by itself."""
    table = torch.from_numpy(sites)
    problem = TokenProblem(Chained(Absorbing(chain.tokens), chain), table)
    # no two rows are equal, so that groups are rows
    groups = grouped(table, torch.ones(sites.shape[:2], dtype=torch.bool))
    return Lattice().solve(problem, groups)


def gaps(model: NGrams, blocks: Sequence[str], size: int, n: int) -> Iterator[Row]:
    """Fills gaps of known length, by the model as it is and adapted to what is known."""
    rng = np.random.default_rng(size)
    texts = [model.encode(block) for block in blocks if len(block) > LEFT + size + RIGHT]
    rows = []
    for _ in range(n):
        text = texts[rng.integers(len(texts))]
        at = rng.integers(LEFT, len(text) - size - RIGHT)
        rows.append(text[at - LEFT : at + size + RIGHT])
    hole = slice(LEFT, LEFT + size)
    for name in ("lattice", "lattice, adapted"):
        exact, stated, began = [], [], time.process_time()
        for row in rows:
            sites = np.where(np.arange(model.tokens) == row[:, None], 0.0, -np.inf)
            sites[hole] = 0
            own = adapted(model, [row[:LEFT], row[LEFT + size :]]) if "adapted" in name else model
            found = solved(own, sites[None])[0]
            exact.append((found.best[0, hole] == row[hole]).all())
            table = found.marginals[0, hole]
            stated.append(np.stack([table.max(axis=1), table.argmax(axis=1) == row[hole]]))
        every = np.concatenate(stated, axis=1)
        yield {
            "method": name, "items": n, "exact": float(np.mean(exact)),
            "characters": float(every[1].mean()), **trust(every),
            "seconds": (time.process_time() - began) / n,
        }  # fmt: skip


def trust(every: ndarray) -> Row:
    """How far stated probabilities can be trusted."""
    wrong = every[0][every[1] == 0]
    return {
        "ece": calibration_error(every[0].tolist(), (every[1] == 1).tolist(), bins=15),
        "confidence": float(every[0].mean()),
        "wrong": float(wrong.mean()) if len(wrong) else None,
    }


def noise(model: NGrams, blocks: Sequence[str], rate: float, count: int) -> Iterator[Row]:
    """Restores 1,000 characters at a time from uniform substitutions."""
    text = "".join(blocks)
    size, K = 1000, model.tokens
    rng = np.random.default_rng(round(1000 * rate))
    starts = rng.permutation(len(text) // size)[: count // size] * size
    truth = np.stack([model.encode(text[start : start + size]) for start in starts])
    hit = rng.random(truth.shape) < rate
    seen = np.where(hit, (truth + rng.integers(1, K, truth.shape)) % K, truth)
    tables, began = [], time.process_time()
    for row in seen:
        same = np.arange(K) == row[:, None]
        sites = np.log(np.where(same, 1 - rate, rate / (K - 1)))
        tables.append(solved(model, sites[None])[0].marginals[0])
    seconds = (time.process_time() - began) / len(seen)
    table = np.stack(tables)
    sure, best = table.max(axis=2), table.argmax(axis=2)
    every = np.stack([sure.ravel(), (best == truth).ravel()])
    for least in (0.0, 0.6):
        found = np.where(sure >= least, best, seen)
        before, after = float((seen != truth).mean()), float((found != truth).mean())
        yield {
            "method": "lattice" + (f", doubt below {least} changes nothing" if least else ""),
            "items": truth.size, "cer": f"{before:.4f} → {after:.4f}",
            "reduction": 1 - after / before, "over": float((found != truth)[seen == truth].mean()),
            **trust(every), "seconds": seconds,
        }  # fmt: skip


def edits(model: NGrams, blocks: Sequence[str], channel: Channel, n: int) -> Row:
    """Restores verses whose characters were replaced, lost and inserted."""
    rng = np.random.default_rng(0)
    chosen = [v for block in blocks for v in block.splitlines() if 60 < len(v) < 300]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))[:n]]
    pieces, end, room, count = list(model.alphabet), model.tokens, 12, 200
    machine = ending(channel.edit_channel(pieces))
    before, after, began = [], [], time.process_time()
    for index, verse in enumerate(chosen):
        read = channel.degrade(verse, Streams(0, [index]), alphabet=pieces)
        ids = torch.from_numpy(model.encode(read))
        length = len(ids) + room
        rows = Rows(
            np.zeros((1, length, end + 1)), np.array([length]),
            Edits(machine, ids, end=end, band=room),
        )  # fmt: skip
        found = smooth(
            Ended(model), rows, Limits(), owner=np.zeros(count, np.int64),
            uniforms=rng.random((count, length + 1)),
        )  # fmt: skip
        texts = ["".join(pieces[v] for v in row if v < end) for row in found.draws]
        best, last = [], 0
        for vote in votes(read, texts):
            if vote.odds >= CONFIDENCE:
                best += [read[last : vote.start], vote.best]
                last = vote.end
        before.append(read)
        after.append("".join([*best, read[last:]]))
    seconds = (time.process_time() - began) / sum(map(len, chosen)) * 1000
    truth, damaged, restored = ("\n".join(part) for part in (chosen, before, after))
    cer = [character_error_rate(text, truth) for text in (damaged, restored)]
    return {
        "method": "lattice with pair HMM, vote of 200 draws at each place", "items": len(truth),
        "cer": f"{cer[0]:.4f} → {cer[1]:.4f}",
        "reduction": cer_reduction(damaged, restored, truth), "seconds": seconds,
    }  # fmt: skip


def page(model: NGrams, blocks: Sequence[str]) -> Row:
    """Fills ten gaps of five in a page of 3,000 characters."""
    truth = model.encode("".join(blocks)[:3000])
    places = (np.arange(10) * 290 + 150)[:, None] + np.arange(5)
    sites = np.where(np.arange(model.tokens) == truth[:, None], 0.0, -np.inf)
    sites[places.ravel()] = 0
    began = time.process_time()
    found = solved(model, sites[None])[0].best[0]
    seconds = time.process_time() - began
    right = found[places] == truth[places]
    return {
        "method": "lattice", "items": 10, "exact": float(right.all(axis=1).mean()),
        "characters": float(right.mean()), "seconds": seconds,
    }  # fmt: skip


def measured(path: Path, quick: bool, share: float, only: Sequence[str] = ()) -> Iterator[Row]:
    """All rows, or those of some groups."""
    parts = split(verses(path))
    blocks = parts.validation if quick else parts.test
    many = 30 if quick else 300
    share = min(share, 0.1) if quick else share
    model, third = counted(WEIGHTS), 0.05 / 3
    foreign = "".join(sign for sign in pydoc() if sign in set(model.alphabet))

    def named(task: str, rows: Iterable[Row]) -> Iterator[Row]:
        return ({"task": task, **row} for row in rows)

    def found(group: str) -> Iterator[Row]:
        if group == "bits":
            training = "".join(parts.training)
            yield from named("Bits per character", likelihoods(model, blocks, training))
        elif group == "gaps":
            for size in (1, 2, 5, 10):
                yield from named(f"Gap of {size}", gaps(model, blocks, size, many))
        elif group == "page":
            yield from named("Page of 3,000 characters, ten gaps of 5", [page(model, blocks)])
        elif group == "noise":
            for rate in (0.05, 0.1, 0.2):
                rows = noise(model, blocks, rate, round(40_000 * share))
                yield from named(f"Substitutions, {rate:.0%}", rows)
        elif group == "edits":
            channel = uniform(third, lost=third, inserted=third)
            row = edits(model, blocks, channel, round(60 * share))
            yield from named("Substitutions, losses, insertions, 5 % in all", [row])
        else:
            for size in (1, 5):
                task = f"Gap of {size} in Python's documentation"
                yield from named(task, gaps(model, [foreign], size, many))

    for group in only or GROUPS:
        yield from found(group)


def put(rows: Sequence[Row], row: Row) -> list[Row]:
    """Rows with one in the place of that of its task and method, or at the end."""
    keys = [(each["task"], each["method"]) for each in rows]
    if (key := (row["task"], row["method"])) not in keys:
        return [*rows, row]
    return [row if other == key else each for each, other in zip(rows, keys, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--share", type=float, default=1, help="of the noisy texts")
    parser.add_argument("--only", nargs="*", default=(), choices=GROUPS, help="the others stay")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, before, only = [], "", arguments.only
    if only:
        old = json.loads(arguments.out.read_text(encoding="utf-8"))
        rows, before = old["rows"], f"{old['command']}, then --only {' '.join(only)}"
    for row in measured(arguments.verses, arguments.quick, arguments.share, only):
        rows = put(rows, row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        report = {
            "command": before
            or "python benchmarks/text.py kjv.txt"
            + " --quick" * arguments.quick
            + f" --share {arguments.share:g}" * (arguments.share != 1),
            "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
            "columns": COLUMNS,
            "formats": FORMATS,
            "note": "King James text, blocks of 20 verses, "
            f"{'validation' if arguments.quick else 'test'} blocks. Gaps: 60 characters before and "
            "40 after are known; exact is the likeliest filling; adapted: n-grams are trusted as "
            "far as they predict the known letters. Substitutions: uniform, rate "
            "known, 1,000 characters at a time; the likeliest character at each place. Seconds "
            "are per gap, per page, or per 1,000 characters.",
            "rows": rows,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
