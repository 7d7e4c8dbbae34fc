"""Noise: characters that were replaced by others, as a typist, a scanner or a bad line does it.

    In the beginninq God creatcd the heavcn and the earth

Every character is evidence of what stood there: ln p(y_i | x_i = v) for a channel that is built in,
counted in pairs, or whose rate is found by the prior itself, by expectation maximisation:

    ε ← mean over i of p(x_i ≠ y_i | y, ε).

The estimate is, place by place, the most probable character given the whole text. Below a stated
confidence the input stays as it is: a restorer must not do harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.inverse.tokens.tasks import PartDraws, Posed, Readings, TokenPart, TokenTask
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_text.channels import Channel, load
from sfumato_text.files.documents import Document, codes_of, document_of
from sfumato_text.operators.corrections import Row, corrected
from sfumato_text.operators.sites import FOREIGN, certain, check_signs, reader, tolerant
from sfumato_text.operators.windows import records

__all__ = ["Restore"]

SAMPLE = 600
"""Characters from which the rate of a channel is estimated."""
ROUNDS = 5


@dataclass(frozen=True)
class Restore(TokenTask):
    """Corrects characters that were replaced by others.

    Args:
        channel: What the errors are like: "uniform", "typo", "ocr", or a file that a channel was
            saved in.
        rate: Share of wrong characters; found with the prior's help if not given.
        confidence: A character is only changed for one that is at least so probable.
        foreign: Characters that the prior's alphabet lacks: "refuse" them; read the "nearest"
            signs that it has and leave them as they are; or take them for "noise".
        readings: Ranked readings that are kept of every doubtful place.
    """

    summary: ClassVar[str] = "correct wrong characters in a noisy text"

    channel: str = "uniform"
    rate: float | None = None
    confidence: float = 0.6
    foreign: str = "refuse"
    readings: int = 5

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < 1:
            raise InvalidOptionError("text restore", f"rate={self.rate}", "use 0 < rate < 1")
        if not 0 <= self.confidence < 1:
            raise InvalidOptionError(
                "text restore", f"confidence={self.confidence}", "use 0 up to less than 1"
            )
        if self.readings < 1:
            raise InvalidOptionError("text restore", f"readings={self.readings}", "use 1 or more")
        if self.foreign not in (*FOREIGN, "noise"):
            known = (*FOREIGN, "noise")
            raise UnknownNameError("way to read foreign characters", self.foreign, known)
        load(self.channel)

    @property
    def stated(self) -> Channel:
        """The channel with its rate as far as it is known."""
        channel = load(self.channel)
        return channel if self.rate is None else channel.scaled(self.rate)

    def document(self, signal: Signal) -> Document:
        """The input.

        Raises:
            InvalidOptionError: If it is empty, or has gaps.
        """
        document = document_of(signal)
        name = str(signal.path or "the text")
        if not document.text.strip():
            raise InvalidOptionError(name, "there is no text in it", "give another")
        if any(gap.asked for gap in document.gaps):
            raise InvalidOptionError(name, "it has gaps", "fill them first: text fill")
        return document

    def check(self, signal: Signal) -> None:
        self.document(signal)

    def pose(self, signal: Signal, prior: Any) -> Posed:
        document, channel = self.document(signal), self.stated
        codec = reader(prior.codec, "nearest" if self.foreign == "noise" else self.foreign)
        if self.foreign == "refuse":
            check_signs(document, codec, signal.path)
        read = codec.read if self.foreign == "refuse" else partial(tolerant, codec=codec)
        rows = [
            Row(start, end, read(document.text[start:end]), codec)
            for start, end in records(document)
            if end > start
        ]
        notes: tuple[str, ...] = ()
        if self.rate is None and self.channel in ("uniform", "typo", "ocr"):
            channel = self.estimated(channel, document, rows, prior)
            notes = (f"share of wrong characters, found with the prior: {channel.rate:.3f}",)
        tables = [self.sites(document, row, channel) for row in rows]
        parts = tuple(TokenPart(table) for table in tables)

        def assemble(draws: Sequence[PartDraws], n: int) -> Readings:
            return corrected(
                signal, document, list(zip(rows, draws, tables, strict=True)), n,
                least=self.confidence, keep=self.readings, rate=channel.rate,
            )  # fmt: skip

        return Posed(parts, assemble, notes=notes)

    def sites(
        self, document: Document, row: Row, channel: Channel
    ) -> Float[Tensor, "length tokens"]:
        """ln p(y_i | x_i = v) of a row; characters that nobody may change are certain."""
        observed = row.observed
        table = channel.sites(observed, row.codec.pieces)
        if self.foreign != "noise":
            foreign = torch.tensor([sign not in row.known for sign in observed])
            table[foreign] = certain(row.encoded.ids, len(row.codec.pieces))[foreign]
        return table

    def estimated(
        self, channel: Channel, document: Document, rows: Sequence[Row], prior: Any
    ) -> Channel:
        """The channel with the rate that makes the text most probable."""
        row = max(rows, key=lambda r: len(r.encoded.ids))
        ids = row.encoded.ids[:SAMPLE]
        for _ in range(ROUNDS):
            sites = self.sites(document, row, channel)[: len(ids)]
            problem = TokenProblem(prior.denoiser, sites[None].to(prior.device))
            name, _ = registry.choose(problem)
            found = registry.make(name)(problem, Streams.count(0, 1).spawn("rate"))
            own = found.x[0] == ids if found.marginals is None else (
                found.marginals[0].cpu().gather(1, ids[:, None])[:, 0]
            )  # fmt: skip
            wrong = float((1 - own.double()).mean())
            rate = min(max(wrong, 0.002), 0.6)
            if math.isclose(rate, channel.rate, rel_tol=0.03):
                break
            channel = channel.scaled(rate)
        return channel

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Passes a text through the channel."""
        document = document_of(signal)
        streams = Streams.count(seed, 1).spawn("noise")
        channel = replace(self.stated, lost=0.0, losses={}, inserted=0.0)
        alphabet = sorted(set(document.text)) if self.channel == "uniform" else None
        return Signal(codes_of(channel.degrade(document.text, streams, alphabet=alphabet)))
