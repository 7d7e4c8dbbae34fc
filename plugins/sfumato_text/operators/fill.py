"""Gaps: characters that are lost, where all others can be read.

    In the beginning [...] created the heaven            three characters
    In the beginning [---] created the heaven            nobody knows how many

A gap of known length is a row of free places between known ones. For one of unknown length every
length k up to a limit is solved by itself; the evidence of the whole window, which the text after
the gap is part of, says how likely each length is:

    p(k | text) ∝ p(k) p(text before, text after | k lost between).

How far the prior's n-grams are to be trusted is read off the known letters of its text
(``sfumato_text.adaptation``). What was read comes back as it was, byte by byte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.factors import Machine
from sfumato.inverse.tokens.tasks import PartDraws, Posed, Readings, TokenPart, TokenTask
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_text.adaptation import adapted_denoiser
from sfumato_text.files.documents import Document, Gap, codes_of, document_of, signal_of
from sfumato_text.files.notations import NOTATIONS, parse, render
from sfumato_text.operators.rankings import Ranking, merged, ranked
from sfumato_text.operators.sites import FOREIGN, certain, check_signs, free, reader
from sfumato_text.operators.windows import Window, records, where, windows
from sfumato_text.operators.writing import Filled, readings_of

__all__ = ["Fill"]

LONGEST = 400
"""Most characters of a gap of known length."""

RANKED = 200
"""Draws that readings are ranked by."""


@dataclass(frozen=True)
class Fill(TokenTask):
    """Fills gaps in a text.

    Args:
        notation: How gaps are marked: "leiden" ([...], [---]), "ithaca" (?, -, #), or "none" for
            files that mark gaps themselves, as EpiDoc does.
        longest: Most characters of a gap of unknown length.
        context: Characters that are looked at on either side of a gap.
        readings: Ranked readings that are kept of every gap.
        foreign: Characters that the prior's alphabet lacks: "refuse" them, or read the "nearest"
            signs that it has; in the result they are what they were.
        share: For ``degrade``: share of the characters to lose.
        span: For ``degrade``: characters of every gap.
    """

    summary: ClassVar[str] = "fill gaps of known or unknown length in a damaged text"
    together: ClassVar[bool] = True
    """Whether gaps of known length that are near each other are solved together."""

    notation: str = "leiden"
    longest: int = 20
    context: int = 100
    readings: int = 10
    foreign: str = "refuse"
    share: float = 0.05
    span: int = 5

    def __post_init__(self) -> None:
        if self.notation not in NOTATIONS:
            raise UnknownNameError("notation", self.notation, NOTATIONS)
        for name in ("longest", "context", "readings", "span"):
            if getattr(self, name) < 1:
                raise InvalidOptionError(
                    "text fill", f"{name}={getattr(self, name)}", "use 1 or more"
                )
        if self.foreign not in FOREIGN:
            raise UnknownNameError("way to read foreign characters", self.foreign, FOREIGN)
        if not 0 < self.share < 1:
            raise InvalidOptionError("text fill", f"share={self.share}", "use 0 < share < 1")

    def document(self, signal: Signal) -> Document:
        """The input with its gaps.

        Raises:
            UnreadableFileError: If a marker does not parse; names line and column.
            InvalidOptionError: If there are no gaps, or one is too long.
        """
        document = document_of(signal)
        if not document.gaps:
            document = parse(document, self.notation, signal.path)
        if not any(gap.asked for gap in document.gaps):
            raise InvalidOptionError(
                str(signal.path or "the text"), "there are no gaps in it",
                "mark them as [...] or [---], or choose another --notation",
            )  # fmt: skip
        for gap in document.gaps:
            if gap.minimum > LONGEST:
                raise InvalidOptionError(
                    f"the gap at {where(document.text, gap.start)}",
                    f"{gap.minimum} characters are lost", f"a prior fills up to {LONGEST}",
                )  # fmt: skip
        return document

    def check(self, signal: Signal) -> None:
        self.document(signal)

    def pose(self, signal: Signal, prior: Any) -> Posed:
        document, codec = self.document(signal), reader(prior.codec, self.foreign)
        check_signs(document, codec, signal.path)
        denoisers = {
            record: adapted_denoiser(prior.denoiser, self.known(document, codec, *record))
            for record in records(document)
        }
        asked = [number for number, gap in enumerate(document.gaps) if gap.asked]
        places = windows(document, context=self.context, asked=asked, together=self.together)
        parts: list[TokenPart] = []
        owners: list[tuple[Window, list[int]]] = []
        for window in places:
            options = self.lengths(document, window, codec)
            first = len(parts)
            record = next(r for r in denoisers if r[0] <= window.start and window.end <= r[1])
            parts += [
                TokenPart(
                    self.sites(document, window, size, codec),
                    self.factor(document, window, size, codec),
                    denoiser=denoisers[record],
                )
                for size in options
            ]
            owners.append((window, list(range(first, len(parts)))))

        def assemble(draws: Sequence[PartDraws], n: int) -> Readings:
            fills: list[Filled] = []
            log_evidence = 0.0
            for window, numbers in owners:
                cases = [draws[k] for k in numbers]
                fills += self.filled(document, window, cases, codec)
                told = torch.tensor([case.log_evidence for case in cases], dtype=torch.float64)
                log_evidence += float(told.logsumexp(dim=0)) - math.log(len(cases))
            found = readings_of(signal, document, fills, n, keep=self.readings)
            return replace(found, log_evidence=log_evidence)

        compared = any(len(numbers) > 1 for _, numbers in owners)
        return Posed(tuple(parts), assemble, ranked=RANKED, compared=compared)

    def known(self, document: Document, codec: Any, low: int, high: int) -> list[NDArray[np.int64]]:
        """Letters of the stretches between gaps of a record, as tokens."""
        cuts = sorted({low, high, *(g.start for g in document.gaps if low < g.start < high)})
        pieces = (document.text[start:end] for start, end in itertools.pairwise(cuts))
        return [codec.encode(piece).numpy() for piece in pieces if piece.strip()]

    def factor(
        self, document: Document, window: Window, length: int | None, codec: Any
    ) -> Machine | None:
        """What the fillings have to obey; ``None`` if they are free."""
        return None

    def lengths(self, document: Document, window: Window, codec: Any) -> list[int | None]:
        """What the gap of unknown length may have, or ``[None]`` where all lengths are known."""
        gap = document.gaps[window.gaps[0]]
        if gap.fixed:
            return [None]
        most = self.longest if gap.maximum is None else min(gap.maximum, self.longest)
        return list(range(gap.minimum, max(most, gap.minimum) + 1))

    def sites(self, document: Document, window: Window, length: int | None, codec: Any) -> Tensor:
        """One-hot where characters are known, flat where they are lost."""
        pieces = []
        for piece in window.pieces(document):
            if isinstance(piece, Gap):
                pieces.append(free(piece.minimum if length is None else length, codec.tokens))
            else:
                pieces.append(certain(codec.encode(piece), codec.tokens))
        return torch.cat(pieces)

    def filled(
        self, document: Document, window: Window, draws: Sequence[PartDraws], codec: Any
    ) -> list[Filled]:
        """The fillings of a window's gaps, ranked."""
        gaps = [document.gaps[number] for number in window.gaps]
        pieces = window.pieces(document)
        rankings: list[list[Ranking]] = [[] for _ in gaps]
        evidence = torch.tensor([d.log_evidence for d in draws], dtype=torch.float64)
        weights = evidence.softmax(dim=0) if len(draws) > 1 else torch.ones(1)
        known = sum(len(codec.encode(p)) for p in pieces if not isinstance(p, Gap))
        own = torch.stack([d.evidence for d in draws])
        for draw, weight in zip(draws, weights.tolist(), strict=True):
            place, index = 0, 0
            for piece in pieces:
                if not isinstance(piece, Gap):
                    place += len(codec.encode(piece))
                    continue
                size = piece.minimum if piece.fixed else draw.x.shape[1] - known
                rankings[index].append(
                    ranked(draw, slice(place, place + size), codec.decode, weight)
                )
                place, index = place + size, index + 1
        return [
            Filled(number, merged(parts, draws[0].u, own))
            for number, parts in zip(window.gaps, rankings, strict=True)
        ]

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Loses spans of characters at random, marked in this notation."""
        document = document_of(signal)
        length, count = len(document.text), 0
        count = max(1, round(self.share * length / self.span))
        if length < 2 * self.span:
            raise InvalidOptionError(
                str(signal.path or "the text"), f"it has {length} characters",
                f"spans of {self.span} need {2 * self.span}",
            )  # fmt: skip
        streams = Streams.count(seed, 1).spawn("gaps")
        order = streams.uniform(torch.empty(1, length - self.span + 1))[0].argsort()
        taken: list[tuple[int, int]] = []
        for start in order.tolist():
            end = start + self.span
            if all(end < low or high < start for low, high in taken):
                taken.append((start, end))
            if len(taken) == count:
                break
        damaged = document.hide(taken)
        if self.notation == "none":
            return signal_of(damaged)
        return Signal(codes_of(render(damaged, self.notation)))
