"""From marginals of characters to a corrected text, its certainty and its doubtful places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.inverse.tokens.tasks import Alternatives, PartDraws, Readings
from sfumato.signals import Signal
from sfumato_text.files.documents import Document, codes_of
from sfumato_text.files.restorations import Change, Restoration, restored_signal
from sfumato_text.operators.windows import where
from sfumato_text.tokenisers import Characters
from sfumato_text.tokens import Encoded

__all__ = ["Row", "corrected"]

DOUBTFUL = 0.9
"""Below this a kept character is listed with its alternatives."""
MOST = 500
"""At most so many places are listed, the most doubtful first."""


@dataclass(frozen=True, eq=False)
class Row:
    """A record of a document in tokens.

    Args:
        start: First character of the document's text.
        end: After the last.
        encoded: Its tokens.
        codec: What made them.
    """

    start: int
    end: int
    encoded: Encoded
    codec: Characters

    @cached_property
    def observed(self) -> list[str]:
        """What stands in the text for each token."""
        return [self.encoded.text[a:b] for a, b in self.encoded.spans.tolist()]

    @cached_property
    def known(self) -> frozenset[str]:
        """The alphabet."""
        return frozenset(self.codec.pieces)


def choice(
    row: Row, draws: PartDraws, least: float
) -> tuple[Int[Tensor, " length"], Float[Tensor, " length"], Bool[Tensor, " length"]]:
    """The token of every place, how probable it is, and whether it is another than was read."""
    own = row.encoded.ids
    top, best = draws.marginals.max(dim=1)
    kept = draws.marginals.gather(1, own[:, None])[:, 0]
    foreign = torch.tensor([sign not in row.known for sign in row.observed], dtype=torch.bool)
    # a foreign sign that was taken for noise has no probability of its own to keep
    change = ((best != own) | (foreign & (kept < 1))) & (top >= least)
    return torch.where(change, best, own), torch.where(change, top, kept), change


def corrected(
    signal: Signal,
    document: Document,
    found: Sequence[tuple[Row, PartDraws, Tensor]],
    n: int,
    *,
    least: float,
    keep: int,
    rate: float,
) -> Readings:
    """Puts the most probable characters into the text where they are probable enough.

    Args:
        signal: The input.
        document: What was read of it.
        found: Rows, what the solver found of each, and their evidence.
        n: Posterior samples to put together.
        least: A character is only changed for one that is at least so probable.
        keep: Readings to keep of every doubtful place.
        rate: Share of wrong characters that the channel states.
    """
    changes: list[Change] = []
    confidence = torch.ones(len(document.text), dtype=torch.float64)
    places: list[tuple[int, int, tuple[tuple[str, float], ...]]] = []
    noisy = torch.zeros(n, dtype=torch.float64)
    count = 0
    for row, draws, sites in found:
        ids, sure, change = choice(row, draws, least)
        pieces = row.codec.pieces
        for place, (first, last) in enumerate(row.encoded.spans.tolist()):
            start, end = row.start + first, row.start + last
            confidence[start:end] = sure[place]
            if not (change[place] or sure[place] < DOUBTFUL):
                continue
            ranked = draws.marginals[place].topk(min(keep, len(pieces)))
            readings = tuple(
                (pieces[v], p) for p, v in zip(*map(Tensor.tolist, ranked), strict=True) if p > 0
            )
            places.append((start, end, readings))
            if change[place]:
                text = pieces[int(ids[place])]
                odds = (float(sure[place]),) * len(text)
                changes.append(Change(start, end, text, odds, readings))
        open_sites = torch.isfinite(sites).sum(dim=1) > 1
        count += int(open_sites.sum())
        noisy += ((draws.x[:n] != row.encoded.ids) & open_sites).sum(dim=1)
    restoration = Restoration(document, tuple(changes))
    samples = tuple(codes_of(sample_of(document, found, j)) for j in range(n))
    return finished(
        signal, document, restoration, confidence, places, samples,
        noisy / max(count, 1) if count else None, band(rate, count),
    )  # fmt: skip


def sample_of(document: Document, found: Sequence[tuple[Row, PartDraws, Tensor]], j: int) -> str:
    """Posterior sample j of the whole text."""
    pieces, last = [], 0
    for row, draws, _ in found:
        pieces += [document.text[last : row.start], row.codec.rewrite(row.encoded, draws.x[j])]
        last = row.end
    return "".join([*pieces, document.text[last:]])


def finished(
    signal: Signal,
    document: Document,
    restoration: Restoration,
    confidence: Tensor,
    places: Sequence[tuple[int, int, tuple[tuple[str, float], ...]]],
    samples: tuple[Tensor, ...],
    misfit: Tensor | None,
    misfit_band: tuple[float, float],
) -> Readings:
    """Everything in the coordinates of the restored text.

    Args:
        signal: The input.
        document: What was read of it.
        restoration: What was changed.
        confidence: How probable what stands at every character of the document is.
        places: Doubtful places of the document with their readings.
        samples: Posterior samples.
        misfit: Share of the observed characters that each sample explains as noise.
        misfit_band: Where it should lie.
    """
    estimate = codes_of(restoration.text)
    sure = torch.ones(len(estimate), dtype=torch.float64)
    altered = torch.zeros(len(estimate), dtype=torch.bool)
    last, place = 0, 0
    for change, (start, end) in zip(restoration.changes, restoration.places(), strict=True):
        size = change.start - last
        sure[place : place + size] = confidence[last : change.start]
        sure[start:end] = torch.tensor(change.probabilities, dtype=torch.float64)
        altered[start:end] = True
        last, place = change.end, end
    sure[place:] = confidence[last:]
    doubtful = sorted(places, key=lambda p: max((q for _, q in p[2]), default=0.0))[:MOST]
    alternatives = tuple(
        Alternatives(
            *placed(restoration.changes, start, end),
            tuple(codes_of(text) for text, _ in readings), tuple(p for _, p in readings),
            where(document.text, start),
        )
        for start, end, readings in sorted(doubtful)
    )  # fmt: skip
    whole = Restoration(document, restoration.changes, tuple(sure.tolist()))
    return Readings(
        estimate, sure, samples, altered, restored_signal(signal, whole), alternatives,
        misfit, misfit_band, notes=document.notes,
    )  # fmt: skip


def placed(changes: Sequence[Change], start: int, end: int) -> tuple[int, int]:
    """Where a range of the document lies in the restored text.

    What was put in at its ends belongs to it only if it is empty itself.
    """
    empty = start == end
    first, last = start, end
    for change in changes:
        grown = len(change.text) - (change.end - change.start)
        if change.end <= start and not (empty and change.start == start):
            first += grown
        if change.end <= end and (empty or change.start < end):
            last += grown
    return first, last


def band(rate: float, count: int) -> tuple[float, float]:
    """Where 99 % of the shares of wrong characters lie among ``count``."""
    half = 2.576 * math.sqrt(rate * (1 - rate) / max(count, 1))
    return max(rate - half, 0.0), min(rate + half, 1.0)
