"""The tokenisers that there are: characters, bytes, and those of ``sfumato_text.subwords``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import CheckpointError, InvalidOptionError, UnknownNameError
from sfumato_text.alphabets import alphabet_of, check_known, clusters, composed, stand_in
from sfumato_text.subwords import Pretrained, Subwords
from sfumato_text.tokens import Encoded, Tokeniser

__all__ = [
    "TOKENISERS",
    "Bytes",
    "Characters",
    "Encoded",
    "Pretrained",
    "Subwords",
    "Tokeniser",
    "from_dict",
]


@dataclass(frozen=True)
class Characters(Tokeniser):
    """One token for every character (grapheme) of an alphabet.

    Args:
        alphabet: The characters, composed (NFC).
        fallback: Whether 256 further tokens, the bytes of UTF-8, write what the alphabet lacks.
        foreign: Without fallback, what to do about characters that the alphabet lacks: "refuse"
            them, or read the "nearest" signs that it has. These stand for them only while tokens
            are looked at; ``rewrite`` brings them back as they were.
    """

    name: ClassVar[str] = "characters"
    remedy: ClassVar[str] = (
        "take them out, read the nearest signs instead (foreign='nearest'), or train a "
        "prior with byte fallback (fallback=True)"
    )
    """What to do about characters that the alphabet lacks."""
    alphabet: tuple[str, ...]
    fallback: bool = False
    foreign: str = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphabet", tuple(composed(sign) for sign in self.alphabet))
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise InvalidOptionError(
                "characters", "an alphabet that is empty or repeats itself", "list each sign once"
            )
        if self.foreign not in ("refuse", "nearest"):
            raise InvalidOptionError(
                "characters", f"foreign='{self.foreign}'", "use refuse or nearest"
            )

    @classmethod
    def from_text(cls, text: str, *, minimum: int = 1, fallback: bool = False) -> Characters:
        """The alphabet of a corpus: what occurs at least ``minimum`` times."""
        return cls(alphabet_of(text, minimum=minimum), fallback)

    @cached_property
    def index(self) -> dict[str, int]:
        """Number of each character."""
        return {sign: number for number, sign in enumerate(self.alphabet)}

    @cached_property
    def ascii(self) -> NDArray[np.int64]:
        """Number of each ASCII character; −1 where the alphabet lacks it."""
        return np.array([self.index.get(chr(code), -1) for code in range(128)], dtype=np.int64)

    @property
    def tokens(self) -> int:
        return len(self.alphabet) + 256 * self.fallback

    @property
    def pieces(self) -> tuple[str, ...]:
        return self.alphabet + Bytes().pieces * self.fallback

    def read(self, text: str) -> Encoded:
        if text.isascii() and "\r" not in text:
            ids = self.ascii[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
            if (ids >= 0).all():
                starts = np.arange(len(text))
                return Encoded(text, torch.from_numpy(ids), np.stack([starts, starts + 1], axis=1))
        row: list[int] = []
        spans: list[tuple[int, int]] = []
        check_known(text, self.unknown(text), fix=self.remedy)
        for start, end in clusters(text):
            own = self.spelled(text[start:end])
            row += own
            spans += [(start, end)] * len(own)
        places = np.array(spans, dtype=np.int64).reshape(-1, 2)
        return Encoded(text, torch.tensor(row, dtype=torch.long), places)

    def unknown(self, text: str) -> list[tuple[int, int]]:
        """Where graphemes are that cannot be written."""
        signs = {text[start:end] for start, end in clusters(text)}
        lacking = {sign for sign in signs if not self.spelled(sign)}
        if not lacking:
            return []
        return [(start, end) for start, end in clusters(text) if text[start:end] in lacking]

    def spelled(self, cluster: str) -> list[int]:
        """Tokens of one grapheme; empty if it cannot be written."""
        sign = composed(cluster)
        if sign in self.index:
            return [self.index[sign]]
        if self.fallback:
            # the bytes of what was there, composed or not
            raw = cluster.encode("utf-8", errors="surrogatepass")
            return [len(self.alphabet) + byte for byte in raw]
        if self.foreign == "nearest":
            found = stand_in(cluster, frozenset(self.index))
            return [self.index[part] for part in found or ""]
        return []

    def decode(self, ids: Int[Tensor, " length"] | Sequence[int]) -> str:
        size = len(self.alphabet)
        found, raw = [], bytearray()
        for value in self.check_ids(ids):
            if value >= size:
                raw.append(value - size)
                continue
            if raw:
                found.append(raw.decode("utf-8", errors="replace"))
                raw.clear()
            found.append(self.alphabet[value])
        return "".join([*found, raw.decode("utf-8", errors="replace")])

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "alphabet": list(self.alphabet), "fallback": self.fallback,
            "foreign": self.foreign,
        }  # fmt: skip


@dataclass(frozen=True)
class Bytes(Tokeniser):
    """One token for every byte of UTF-8."""

    name: ClassVar[str] = "bytes"

    @property
    def tokens(self) -> int:
        return 256

    @property
    def pieces(self) -> tuple[str, ...]:
        return tuple(f"<0x{byte:02X}>" for byte in range(256))

    def read(self, text: str) -> Encoded:
        raw = np.frombuffer(text.encode("utf-8", errors="surrogatepass"), dtype=np.uint8)
        starts = np.cumsum((raw & 0xC0) != 0x80) - 1
        ids = torch.from_numpy(raw.astype(np.int64))
        return Encoded(text, ids, np.stack([starts, starts + 1], axis=1).astype(np.int64))

    def decode(self, ids: Int[Tensor, " length"] | Sequence[int]) -> str:
        return bytes(self.check_ids(ids)).decode("utf-8", errors="replace")

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}


TOKENISERS: dict[str, type[Tokeniser]] = {
    kind.name: kind for kind in (Characters, Bytes, Subwords, Pretrained)
}


def from_dict(values: Mapping[str, Any], where: object = "tokeniser") -> Tokeniser:
    """The tokeniser that ``to_dict`` described.

    Args:
        values: What it returned.
        where: Named in errors.

    Raises:
        UnknownNameError: If there is no such kind.
        CheckpointError: If something is missing or wrong.
    """
    rest = dict(values)
    name = rest.pop("name", None)
    if name not in TOKENISERS:
        raise UnknownNameError("tokeniser", name, TOKENISERS)
    if "state" in rest:
        rest["state"] = json.dumps(rest["state"])
    for key in ("alphabet", "special"):
        if key in rest:
            rest[key] = tuple(rest[key])
    try:
        made = TOKENISERS[name](**rest)
        made.tokens  # noqa: B018 - a damaged state shows when it is used
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(where, f"its tokeniser is damaged ({why})") from error
    return made
