"""How much to trust counts and network where gaps are filled, and where letters are corrected.

    python benchmarks/text_advice.py kjv.txt          about five minutes of one core

On validation blocks. For gaps of 2, 5 and 10 letters: how often the right filling is among those
that were drawn, and the powers κ and λ, common to all lengths, that make the right letters most
probable (``sfumato.inverse.tokens.advised``); gaps whose filling nobody drew count too. For noisy
texts: the powers τ and ρ that make the right letters most probable. Writes
``benchmarks/results/text_advice.json``. The defaults of ``Advised`` are the powers found with 200
gaps of each length, rounded, and for noise the mean of these and of an earlier sample of half as
many letters, which gave τ = 0.68 and ρ = 0.15.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from sfumato.inverse.tokens.advised import Advised
from sfumato.inverse.tokens.histories import members
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.opinions import leave_one_out
from sfumato.inverse.tokens.pools import Pool
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato.token_priors import TokenPrior
from sfumato_text.files.documents import codes_of
from sfumato_text.operators import Restore
from sfumato_text.verses import split, verses

RESULTS = Path(__file__).parent / "results" / "text_advice.json"
COLUMNS = {
    "task": "Task", "items": "Number", "chain_drawn": "Drawn from the counts", "drawn": "Drawn",
    "chain_bits": "Counts, bits", "other_bits": "Network, bits", "first": "κ or τ",
    "second": "λ or ρ", "bits": "Together, bits",
}  # fmt: skip
FORMATS = dict.fromkeys(("chain_drawn", "drawn", "chain_bits", "other_bits", "bits"), ".3f") | {
    "first": ".2f", "second": ".2f",
}  # fmt: skip
CONTEXT = 100
LETTERS = 63


UNSEEN = 1e-3
"""Share of every letter in what is stated: what nobody drew is unlikely, not impossible."""


@dataclass(frozen=True)
class Case:
    """One gap.

    Args:
        pool: Its fillings.
        hole: Where it is.
        right: The letters that were lost.
        drawn: Whether the right filling is in the pool.
        counted: Whether the counts alone drew it.
    """

    pool: Pool
    hole: slice
    right: Tensor
    drawn: bool
    counted: bool

    def bits(self, powers: Tensor) -> Tensor:
        """What the right letters cost on average, by the stated probabilities."""
        o = self.pool
        share = (o.log_like + powers[0] * o.log_p + powers[1] * o.log_q - o.log_s).softmax(dim=0)
        same = (o.texts[:, self.hole] == self.right).to(share)
        stated = (1 - UNSEEN) * (share @ same) + UNSEEN / LETTERS
        return -stated.log2().mean()


def cases(prior: TokenPrior, blocks: Sequence[str], size: int, n: int) -> list[Case]:
    """Gaps with ``CONTEXT`` letters around them."""
    draw, found, solver = random.Random(1000 + size), [], Advised()
    experts = members(prior.denoiser)
    assert experts is not None  # a chain and a network
    chain, others = experts
    for _ in range(n):
        block = draw.choice(blocks)
        at = draw.randrange(len(block) - size)
        low, high = max(0, at - CONTEXT), min(len(block), at + size + CONTEXT)
        row, hole = prior.codec.encode(block[low:high]), slice(at - low, at - low + size)
        sites = torch.full((1, len(row), prior.codec.tokens), -torch.inf, dtype=torch.float64)
        sites[0, torch.arange(len(row)), row] = 0
        sites[0, hole] = 0
        problem = TokenProblem(chain, sites)
        pool = solver.pool(others, problem, 0)
        alone = Lattice()(
            problem.select([0] * solver.candidates),
            Streams.count(0, solver.candidates).spawn("candidates"),
        )
        drawn, counted = (bool((x == row).all(dim=1).any()) for x in (pool.texts, alone.x))
        found.append(Case(pool, hole, row[hole], drawn, counted))
    return found


def powers(loss: Callable[[Tensor], Tensor]) -> tuple[float, float, float]:
    """The two powers with the least loss, and it."""
    value = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([value], max_iter=40, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        search.zero_grad()
        now = loss(value)
        now.backward()  # type: ignore[no-untyped-call]
        return now

    search.step(step)  # type: ignore[no-untyped-call]
    first, second = value.detach().tolist()
    return first, second, float(loss(value.detach()))


def gaps(found: dict[int, list[Case]]) -> list[dict[str, Any]]:
    """A row for each length."""

    def mean(size: int, p: Tensor) -> Tensor:
        return torch.stack([case.bits(p) for case in found[size]]).mean()

    first, second, _ = powers(
        lambda p: torch.stack([size * mean(size, p) for size in found]).mean()
    )
    given = {"chain_bits": (1.0, 0.0), "other_bits": (0.0, 1.0), "bits": (first, second)}
    return [
        {
            "task": f"Gap of {size}", "items": len(own),
            "chain_drawn": sum(case.counted for case in own) / len(own),
            "drawn": sum(case.drawn for case in own) / len(own),
            "first": first, "second": second,
            **{key: float(mean(size, torch.tensor(p))) for key, p in given.items()},
        }
        for size, own in found.items()
    ]  # fmt: skip


def noise(
    prior: TokenPrior, blocks: Sequence[str], rates: Sequence[float], n: int
) -> dict[str, Any]:
    """The row of noisy texts of 1,000 letters, at all rates together."""
    text, tables = "".join(blocks), []
    alphabet = list(prior.codec.pieces)
    experts = members(prior.denoiser)
    assert experts is not None  # a chain and a network
    chain, others = experts
    for rate in rates:
        task = Restore(rate=rate)
        for index in range(n):
            start = random.Random(index + round(1000 * rate)).randrange(len(text) - 1000)
            truth = text[start : start + 1000]
            read = task.stated.degrade(
                truth, Streams.count(index, 1).spawn("noise"), alphabet=alphabet
            )
            posed = task.pose(Signal(codes_of(read)), prior)
            row, at = prior.codec.encode(truth), 0
            for part in posed.parts:
                one = TokenProblem(chain, part.sites[None])
                table = Lattice()(one, Streams.count(0, 1)).marginals
                assert table is not None
                best = table.argmax(dim=-1)
                everywhere = torch.ones_like(best[0], dtype=torch.bool)
                opinions = [
                    power * leave_one_out(other, best, everywhere).double()
                    for other, power in others
                ]
                told = torch.stack(opinions).sum(dim=0)
                size = best.shape[1]
                tables.append((table[0].log(), told[0], row[at : at + size]))
                at += size

    log_m, log_q = (torch.cat([t[k] for t in tables]).clamp(min=-60) for k in range(2))
    right = torch.cat([t[2] for t in tables])

    def mean(p: Tensor) -> Tensor:
        logits = p[0] * log_m + p[1] * log_q
        return torch.nn.functional.cross_entropy(logits, right) / math.log(2)

    first, second, bits = powers(mean)
    own, other = (float(mean(torch.tensor(p))) for p in ((1.0, 0.0), (0.0, 1.0)))
    return {
        "task": "Substitutions", "items": len(right), "chain_bits": own, "other_bits": other,
        "first": first, "second": second, "bits": bits,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path)
    parser.add_argument("--gaps", type=int, default=100, help="of each length")
    parser.add_argument("--texts", type=int, default=4, help="of 1,000 characters for each rate")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    blocks = split(verses(options.verses)).validation
    prior = sf.Prior.load("kjv", plugin="text")
    assert isinstance(prior, TokenPrior)
    rows = gaps({size: cases(prior, blocks, size, options.gaps) for size in (2, 5, 10)})
    rows.append(noise(prior, blocks, (0.05, 0.1, 0.2), options.texts))
    for row in rows:
        print(json.dumps(row))
    report = {
        "command": f"python benchmarks/text_advice.py kjv.txt --gaps {options.gaps} "
        f"--texts {options.texts}",
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        "columns": COLUMNS, "formats": FORMATS, "rows": rows,
        "note": "Validation blocks. Drawn: how often the right filling is among the candidates. "
        "Bits that a right letter costs by counts, by the network among what was drawn, and by "
        f"both; {UNSEEN:.1%} of what is stated for gaps is given to all letters alike.",
    }  # fmt: skip
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
