"""Edits: characters that were replaced, left out or put in, so that nothing stands in its place.

    In teh begining God creaated the heaven

What was read is a function of the text by a pair hidden Markov model: every character is lost, or
read as itself or another; between them others are put in. The text has an unknown length, so the
row ends with a sign for its end. Each place gets the reading of most posterior draws
(``sfumato_text.operators.votes``); below a stated confidence the input stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.denoisers.ended import Ended
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.factors import EditChannel, Edits
from sfumato.inverse.tokens.histories import Chained, leading_chain
from sfumato.inverse.tokens.tasks import PartDraws, Posed, Readings, TokenPart
from sfumato.noise import Streams
from sfumato.processes import Absorbing
from sfumato.signals import Signal
from sfumato_text.alphabets import clusters, composed
from sfumato_text.channels import Channel
from sfumato_text.files.documents import Document, codes_of, document_of
from sfumato_text.files.restorations import Change, Restoration
from sfumato_text.operators.corrections import Row, finished
from sfumato_text.operators.restore import Restore
from sfumato_text.operators.sites import check_signs, reader, tolerant
from sfumato_text.operators.votes import votes
from sfumato_text.operators.windows import records

__all__ = ["Respell"]

DRAWS = 200
"""Draws that vote on every place."""


@dataclass(frozen=True)
class Respell(Restore):
    """Corrects characters that were replaced, left out or put in.

    Args:
        channel: What the errors are like: "typo", "ocr", "uniform", or a file that a channel was
            saved in.
        rate: Share of replaced characters.
        lost: Share of characters that were left out.
        inserted: Share of characters that were put in.
        foreign: Characters that the prior's alphabet lacks: "refuse" them; read the "nearest"
            signs that it has; or take them for "noise".
        most: Characters that the text may be longer or shorter than what was read, at any place.
    """

    summary: ClassVar[str] = "correct wrong, missing and surplus characters"

    channel: str = "typo"
    rate: float | None = 0.02
    lost: float = 0.01
    inserted: float = 0.01
    most: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lost", "inserted"):
            if not 0 <= getattr(self, name) < 0.5:
                raise InvalidOptionError(
                    "text respell", f"{name}={getattr(self, name)}", "use 0 up to less than 0.5"
                )
        if self.most < 1:
            raise InvalidOptionError("text respell", f"most={self.most}", "use 1 or more")

    @property
    def stated(self) -> Channel:
        channel = super().stated
        if channel.edits:
            return channel
        return replace(channel, lost=self.lost, inserted=self.inserted)

    def pose(self, signal: Signal, prior: Any) -> Posed:
        document, channel = self.document(signal), self.stated
        noise = self.foreign == "noise"
        codec = reader(prior.codec, "nearest" if noise else self.foreign)
        if not noise:
            check_signs(document, codec, signal.path)
        read = partial(tolerant, codec=codec) if noise else codec.read
        rows = [
            Row(start, end, read(document.text[start:end]), codec)
            for start, end in records(document)
            if end > start
        ]
        ended = with_end(prior.denoiser)
        signs = [self.signs(row) for row in rows]
        symbols = channel.symbols(codec.pieces, sorted({sign for some in signs for sign in some}))
        edits = ending(channel.edit_channel(codec.pieces, symbols))
        number = {sign: index for index, sign in enumerate(symbols)}
        ids = [torch.tensor([number[sign] for sign in some]) for some in signs]
        parts = tuple(self.part(row, edits, ended) for row in ids)

        def assemble(draws: Sequence[PartDraws], n: int) -> Readings:
            return self.respelt(signal, document, list(zip(rows, draws, strict=True)), n)

        return Posed(parts, assemble, ranked=DRAWS)

    def signs(self, row: Row) -> list[str]:
        """What was read, sign by sign; with signs that the alphabet lacks if they are noise."""
        if self.foreign != "noise":
            return [row.codec.pieces[token] for token in row.encoded.ids.tolist()]
        text = row.encoded.text
        return [composed(text[start:end]) for start, end in clusters(text)]

    def part(self, ids: Tensor, edits: EditChannel, ended: TokenDenoiser) -> TokenPart:
        """A row with room for what was left out."""
        count, tokens = len(ids), edits.tokens
        machine = Edits(edits, ids, end=tokens - 1, band=self.most)
        sites = torch.zeros(count + self.most, tokens, dtype=torch.float64)
        return TokenPart(sites, machine, denoiser=ended)

    def respelt(
        self, signal: Signal, document: Document, found: Sequence[tuple[Row, PartDraws]], n: int
    ) -> Readings:
        """The reading of most draws at every place, where they are enough."""
        changes: list[Change] = []
        confidence = torch.ones(len(document.text), dtype=torch.float64)
        places = []
        samples = [""] * n
        last = 0
        for row, draws in found:
            texts = [text_of_row(x, row) for x in draws.x]
            before = document.text[last : row.start]
            samples = [s + before + t for s, t in zip(samples, texts[:n], strict=True)]
            last = row.end
            own = row.encoded.text
            for vote in votes(own, texts):
                start, end = row.start + vote.start, row.start + vote.end
                readings, kept = vote.readings[: self.readings], own[vote.start : vote.end]
                places.append((start, end, readings))
                if vote.best != kept and vote.odds >= self.confidence:
                    sure = (vote.odds,) * len(vote.best)
                    changes.append(Change(start, end, vote.best, sure, readings))
                else:
                    share = dict(vote.readings).get(kept, 0.0)
                    confidence[start : max(end, start + 1)] = share
        samples = [s + document.text[last:] for s in samples]
        restoration = Restoration(document, tuple(changes))
        drawn = tuple(codes_of(text) for text in samples)
        return finished(signal, document, restoration, confidence, places, drawn, None, (0.0, 0.0))

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        document = document_of(signal)
        alphabet = sorted(set(document.text)) if self.channel == "uniform" else None
        streams = Streams.count(seed, 1).spawn("noise")
        return Signal(codes_of(self.stated.degrade(document.text, streams, alphabet=alphabet)))


def with_end(denoiser: TokenDenoiser) -> TokenDenoiser:
    """The prior with one token more, for the end of a text.

    Raises:
        UnsupportedError: If the prior is no chain of histories.
    """
    chain = leading_chain(denoiser)
    if chain is None:
        raise UnsupportedError(
            "text respell", "a prior that is a chain of histories, such as counts of n-grams",
            "this one is not",
        )  # fmt: skip
    ended = Ended(chain)
    return Chained(Absorbing(ended.tokens), ended)


def ending(channel: EditChannel) -> EditChannel:
    """The channel with a row for the end, which is never read as anything."""
    row = torch.full((1, channel.symbols), 1 / channel.symbols, dtype=torch.float64)
    lost = torch.as_tensor(channel.lost, dtype=torch.float64).expand(channel.tokens)
    return replace(
        channel,
        confusion=torch.cat([channel.confusion.double(), row]),
        lost=torch.cat([lost, lost.new_zeros(1)]),
    )


def text_of_row(x: Tensor, row: Row) -> str:
    """A draw up to its end."""
    end = len(row.codec.pieces)
    return row.codec.decode(x[x != end])
