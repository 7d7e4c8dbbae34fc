"""Misread pages: text from a reader that says how sure it is (hOCR, ALTO, PAGE).

Readers replace characters, lose them and make some up, a blank between two words as well as a
letter. So what was read is a function of the running text by a pair hidden Markov model
(``sfumato_text.operators.respell``), in which the likelihood of every sign that was read is its
own: a compromise between what a channel has counted and what the reader says of itself
(``sfumato_text.confidences``). Other readings that the reader lists get a share of the errors. Each
place gets the reading of most posterior draws, if these are enough; the result is written into the
file that was read, and all else in it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.errors import InvalidOptionError
from sfumato.factors import Edits
from sfumato.inverse.tokens.tasks import PartDraws, Posed, Readings, TokenPart
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_text.alignments import align
from sfumato_text.channels import Channel
from sfumato_text.confidences import Calibration, soft_sites
from sfumato_text.files.documents import Document, codes_of, document_of
from sfumato_text.files.restorations import Change, Restoration
from sfumato_text.operators.corrections import Row, finished
from sfumato_text.operators.respell import DRAWS, ending, with_end
from sfumato_text.operators.restore import Restore
from sfumato_text.operators.running import BREAK, Run, runs
from sfumato_text.operators.sites import certain, check_signs, reader, tolerant
from sfumato_text.operators.votes import Vote, votes
from sfumato_text.tokenisers import Characters

__all__ = ["DenoiseOCR"]

LONGEST = 400
"""Signs after which a page is cut at the next line end."""


@dataclass(frozen=True)
class DenoiseOCR(Restore):
    """Corrects a page that a machine has read, with its own word on how sure it was.

    Args:
        channel: What the errors are like: "ocr", "typo", "uniform", or a file that a channel was
            saved in, such as one that was estimated on other pages of the same reader.
        foreign: Characters that the prior's alphabet lacks: "refuse" them; read the "nearest"
            signs that it has and leave them as they are; or take them for "noise".
        trust: How far the reader's confidences are believed: 0 not at all, 1 alone.
        other: Share of the errors that goes to the other readings that the reader lists.
        calibration: File of what the reader's confidences are worth, as ``Calibration.save`` of
            ``sfumato_text.confidences`` writes it; they are believed as they are if not given.
        edits: Whether characters may have been lost and made up; otherwise every one stands in its
            place, and any prior will do.
        lost: Share of characters that were lost, unless the channel says it.
        inserted: Share of characters that were made up, unless the channel says it.
        most: Characters that a few lines may be longer or shorter than what was read, at any place.
    """

    summary: ClassVar[str] = "correct pages read by OCR (hOCR, ALTO, PAGE), with its confidences"

    channel: str = "ocr"
    foreign: str = "noise"
    trust: float = 0.5
    other: float = 0.5
    calibration: str = ""
    edits: bool = True
    lost: float = 0.01
    inserted: float = 0.005
    most: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, end in (("trust", 1.0), ("other", 1.0), ("lost", 0.5), ("inserted", 0.5)):
            if not 0 <= getattr(self, name) <= end:
                raise InvalidOptionError(
                    "text denoise-ocr", f"{name}={getattr(self, name)}", f"use 0 to {end:g}"
                )
        if self.most < 1:
            raise InvalidOptionError("text denoise-ocr", f"most={self.most}", "use 1 or more")
        if self.calibration:
            Calibration.load(self.calibration)

    def document(self, signal: Signal) -> Document:
        document = super().document(signal)
        return Calibration.load(self.calibration)(document) if self.calibration else document

    @property
    def stated(self) -> Channel:
        channel = super().stated
        if channel.edits or not self.edits:
            return channel
        return replace(channel, lost=self.lost, inserted=self.inserted)

    def sites(
        self, document: Document, row: Row, channel: Channel
    ) -> Float[Tensor, "length tokens"]:
        if len(row.observed) != row.end - row.start:  # letters with marks: no confidence of its own
            return super().sites(document, row, channel)
        part = slice_of(document, row)
        table = soft_sites(part, row.codec.pieces, channel, trust=self.trust, other=self.other)
        foreign = torch.tensor([sign not in row.known for sign in row.observed])
        if self.foreign != "noise":
            table[foreign] = certain(row.encoded.ids, len(row.codec.pieces))[foreign]
        # a place of which nothing could be true stays as it is
        lost = torch.isinf(table).all(dim=1)
        table[lost] = certain(row.encoded.ids, len(row.codec.pieces))[lost]
        return table

    def pose(self, signal: Signal, prior: Any) -> Posed:
        if not self.edits:
            return super().pose(signal, prior)
        document, channel = self.document(signal), self.stated
        codec = reader(prior.codec, "nearest" if self.foreign == "noise" else self.foreign)
        if self.foreign == "refuse":
            check_signs(document, codec, signal.path)
        read = codec.read if self.foreign == "refuse" else partial(tolerant, codec=codec)
        found = runs(document, most=LONGEST)
        rows = [Row(0, len(run.text), read(run.text), codec) for run in found]
        notes: tuple[str, ...] = ()
        if self.rate is None and self.channel in ("uniform", "typo", "ocr"):
            index = max(range(len(found)), key=lambda i: len(found[i].signs))
            known = found[index].document(document)
            channel = self.estimated(channel, replace(known, text=found[index].text),
                                     [rows[index]], prior)  # fmt: skip
            notes = (f"share of wrong characters, found with the prior: {channel.rate:.3f}",)
        ended = with_end(prior.denoiser)
        parts = tuple(
            self.part(run, row, document, channel, ended)
            for run, row in zip(found, rows, strict=True)
        )

        def assemble(draws: Sequence[PartDraws], n: int) -> Readings:
            return self.voted(signal, document, list(zip(found, rows, draws, strict=True)), n)

        return Posed(parts, assemble, ranked=DRAWS, notes=notes)

    def part(
        self, run: Run, row: Row, document: Document, channel: Channel, ended: TokenDenoiser
    ) -> TokenPart:
        """A run with room for what was lost."""
        pieces = row.codec.pieces
        symbols = channel.symbols(pieces, run.signs)
        known = ending(channel.edit_channel(pieces, symbols))
        at = {sign: number for number, sign in enumerate(symbols)}
        observed = torch.tensor([at[sign] for sign in run.signs])
        reads = self.reads(run, row, document, channel)
        inserts = known.frequencies[observed]
        inserts[reads.max(dim=0).values == 1] = 0  # what is certain was not made up
        machine = Edits(
            known, observed, end=len(pieces), band=self.most, inserts=inserts,
            reads=torch.cat([reads, reads.new_zeros(1, len(observed))]), name="what was read",
        )  # fmt: skip
        sites = torch.zeros(len(observed) + self.most, len(pieces) + 1, dtype=torch.float64)
        return TokenPart(sites, machine, denoiser=ended)

    def reads(
        self, run: Run, row: Row, document: Document, channel: Channel
    ) -> Float[Tensor, "tokens length"]:
        """p(y_j | v) of every sign of a run; what nobody may change is certain."""
        pieces = row.codec.pieces
        known = run.document(document)
        table = soft_sites(known, pieces, channel, trust=self.trust, other=self.other).exp()
        blank = [number for number, sign in enumerate(pieces) if sign in (" ", BREAK)]
        for j, sign in enumerate(run.signs):
            if sign == BREAK:
                table[j] = 0
                table[j, blank or slice(None)] = 1
            elif sign == " " and blank:
                table[j, blank] = table[j, blank].max()
            elif (sign not in row.known and self.foreign != "noise") or not bool(table[j].any()):
                table[j] = 0
                table[j, nearest(sign, row.codec)] = 1
        return table.T.contiguous()

    def voted(
        self,
        signal: Signal,
        document: Document,
        found: Sequence[tuple[Run, Row, PartDraws]],
        n: int,
    ) -> Readings:
        """The reading of most draws at every place, where they are enough."""
        changes: list[Change] = []
        drawn: list[list[Change]] = [[] for _ in range(n)]
        confidence = torch.ones(len(document.text), dtype=torch.float64)
        places = []
        for run, row, draws in found:
            end = len(row.codec.pieces)
            texts = [row.codec.decode(x[x != end]).replace(BREAK, " ") for x in draws.x]
            own = "".join(
                row.codec.pieces[nearest(sign, row.codec)[0]]
                if self.foreign != "noise" and sign not in row.known else sign for sign in run.text
            )  # fmt: skip
            for j, text in enumerate(texts[:n]):
                drawn[j] += written(run, own, Vote(0, len(own), ((text, 1.0),)), document)
            for vote in votes(own, texts):
                start, stop = run.range(vote.start, vote.end)
                places.append((start, stop, vote.readings[: self.readings]))
                sure = vote.best != own[vote.start : vote.end] and vote.odds >= self.confidence
                made = list(written(run, own, vote, document)) if sure else []
                changes += made
                kept = dict(vote.readings).get(own[vote.start : vote.end], 0.0)
                confidence[start : max(stop, start + 1)] = vote.odds if made else kept
        samples = tuple(codes_of(Restoration(document, tuple(one)).text) for one in drawn)
        return finished(
            signal, document, Restoration(document, tuple(changes)), confidence, places, samples,
            None, (0.0, 0.0),
        )  # fmt: skip

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        if not self.edits:
            return super().degrade(signal, seed=seed)
        document = document_of(signal)
        alphabet = sorted(set(document.text)) if self.channel == "uniform" else None
        streams = Streams.count(seed, 1).spawn("noise")
        return Signal(codes_of(self.stated.degrade(document.text, streams, alphabet=alphabet)))


def nearest(sign: str, codec: Characters) -> list[int]:
    """Tokens that may stand for a sign that nobody may change: what is nearest, or any."""
    ids = tolerant(sign, codec).ids
    return [int(ids[0])] if len(ids) else list(range(len(codec.pieces)))


def written(run: Run, own: str, vote: Vote, document: Document) -> Iterator[Change]:
    """What a vote changes in the document; line ends and what divides words stay.

    Args:
        run: The running text.
        own: Its signs as the prior knows them.
        vote: A place of it.
        document: Where it stands.
    """
    for block in align(own[vote.start : vote.end], vote.best):
        if block.same:
            continue
        first, last = vote.start + block.start, vote.start + block.end
        new = vote.best[block.first : block.last]
        if BREAK in run.signs[first:last] or (new == "-" and run.hidden(first)):
            continue
        inside = [k for k in range(first + 1, last) if run.hidden(k)]
        low = first
        for high in [*inside, last]:
            # before what divides a word as many letters as there were
            text = new if high == last else new[: high - low]
            new = new[len(text) :]
            start, end = run.range(low, high)
            if document.text[start:end] != text:
                yield Change(start, end, text, (vote.odds,) * len(text))
            low = high


def slice_of(document: Document, row: Row) -> Document:
    """The part of a document that a row is, with its confidences and other readings."""
    if (row.start, row.end) == (0, len(document.text)):
        return document
    return document.part(row.start, row.end)
