"""How texts are garbled, as data.

A channel says of every character x how often it is read wrongly, ε_x, and what it is read as then:
a share w_x(c) of the errors goes to each confusion c that it lists, what is left of the shares to
any other character alike:

    p(y | x) = (1 − ε_x) [y = x] + ε_x (w_x(y) + (1 − Σ_c w_x(c))/(C − 1)) [y ≠ x].

Besides, a character may be lost, and others inserted (the parameters of a pair hidden Markov model;
``sfumato.factors.EditChannel`` says what they mean). Channels are built in (``uniform``, ``typo``,
``ocr``), counted in pairs of noisy and clean text, or read from JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError
from sfumato.factors import EditChannel
from sfumato.files import atomic_file
from sfumato.noise import Streams
from sfumato_text.confusions import KEYBOARD, LOOK_ALIKES

__all__ = ["CHANNELS", "Channel", "load", "ocr", "typo", "uniform"]


BLANKS = 0.1
"""How often a blank is taken for a character, against how often characters are for each other."""


@dataclass(frozen=True)
class Channel:
    """A way to garble texts.

    Args:
        name: For people.
        rate: ε of characters that ``rates`` does not list, in [0, 1).
        rates: ε_x of single characters.
        confusions: w_x(c); the shares of each x sum to 1 at most.
        lost: Chance that a character that ``losses`` does not list is left out, in [0, 1).
        losses: The same of single characters.
        inserted: Chance that one more is put in at any place, in [0, 1).
        letters: What is put in; shares that sum to 1 at most, the rest for any character alike.
        untouched: Characters that are never changed, lost or made up.
    """

    name: str = "channel"
    rate: float = 0.05
    rates: Mapping[str, float] = field(default_factory=dict)
    confusions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lost: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    inserted: float = 0.0
    letters: Mapping[str, float] = field(default_factory=dict)
    untouched: str = "\n"

    def __post_init__(self) -> None:
        rows = {x: MappingProxyType(dict(row)) for x, row in self.confusions.items()}
        object.__setattr__(self, "confusions", MappingProxyType(rows))
        object.__setattr__(self, "rates", MappingProxyType(dict(self.rates)))
        object.__setattr__(self, "losses", MappingProxyType(dict(self.losses)))
        object.__setattr__(self, "letters", MappingProxyType(dict(self.letters)))
        chances = {
            "rate": self.rate, "lost": self.lost, "inserted": self.inserted,
            **{f"rate of {x!r}": e for x, e in self.rates.items()},
            **{f"loss of {x!r}": e for x, e in self.losses.items()},
        }  # fmt: skip
        for what, chance in chances.items():
            if not 0 <= chance < 1:
                raise InvalidOptionError(
                    self.name, f"{what} is {chance}", "use 0 up to less than 1"
                )
        for what, row in {"letters": self.letters, **self.confusions}.items():
            total = sum(row.values())
            if min(row.values(), default=0) < 0 or total > 1 + 1e-6 or what in row:
                raise InvalidOptionError(
                    self.name, f"the shares of {what!r} sum to {total:.6g}",
                    "give shares of other characters that are not negative and sum to 1 at most",
                )  # fmt: skip

    @property
    def edits(self) -> bool:
        """Whether it changes the length of a text."""
        return max(self.lost, self.inserted, *self.losses.values(), 0) > 0

    def scaled(self, rate: float) -> Channel:
        """The same confusions with another error rate; rarer and commoner errors stay so."""
        factor = rate / self.rate if self.rate else 1.0
        rates = {x: min(e * factor, 0.99) for x, e in self.rates.items()}
        return replace(self, rate=rate, rates=rates)

    def symbols(self, alphabet: Sequence[str], observed: Sequence[str] = "") -> tuple[str, ...]:
        """Everything that may be read: the alphabet, and what else was observed."""
        return tuple(dict.fromkeys([*alphabet, *observed]))

    def table(
        self, alphabet: Sequence[str], symbols: Sequence[str] | None = None
    ) -> Float[Tensor, "tokens symbols"]:
        """p(y | x) of a character that is not lost; rows sum to 1.

        Args:
            alphabet: Each x.
            symbols: Each y, the alphabet among them; the alphabet itself if not given.
        """
        seen = list(alphabet if symbols is None else symbols)
        place = {sign: number for number, sign in enumerate(seen)}
        free = torch.tensor([sign not in set(self.untouched) for sign in seen])
        found = torch.zeros(len(alphabet), len(seen), dtype=torch.float64)
        for row, x in zip(found, alphabet, strict=True):
            own = place[x]
            if not free[own]:
                row[own] = 1
                continue
            for sign, share in self.confusions.get(x, {}).items():
                if sign in place and free[place[sign]]:
                    row[place[sign]] += share
            others = free.clone()
            others[own] = False
            row[others] += (1 - float(row.sum())) / max(int(others.sum()), 1)
            error = self.rates.get(x, self.rate) if bool(others.any()) else 0.0
            row *= error
            row[own] = 1 - error
        return found

    def sites(
        self, observed: Sequence[str], alphabet: Sequence[str]
    ) -> Float[Tensor, "length tokens"]:
        """ln p(y_i | x_i = v) of every observed character, whether the alphabet has it or not."""
        seen = self.symbols(alphabet, observed)
        place = {sign: number for number, sign in enumerate(seen)}
        columns = torch.tensor([place[sign] for sign in observed], dtype=torch.long)
        return self.table(alphabet, seen).log()[:, columns].T.contiguous()

    def edit_channel(
        self, alphabet: Sequence[str], symbols: Sequence[str] | None = None
    ) -> EditChannel:
        """The channel with losses and insertions, for ``sfumato.factors.Edits``."""
        seen = list(alphabet if symbols is None else symbols)
        free = torch.tensor([float(sign not in self.untouched) for sign in seen]).double()
        shares = torch.tensor([self.letters.get(sign, 0.0) for sign in seen]).double() * free
        letters = shares + (1 - shares.sum()).clamp(min=0) * free / free.sum().clamp(min=1)
        lost = torch.tensor([
            0.0 if sign in self.untouched else self.losses.get(sign, self.lost) for sign in alphabet
        ], dtype=torch.float64)  # fmt: skip
        return EditChannel(self.table(alphabet, seen), lost, self.inserted, letters / letters.sum())

    def degrade(self, text: str, streams: Streams, *, alphabet: Sequence[str] | None = None) -> str:
        """A draw of what is read instead of ``text``.

        Args:
            text: A clean text.
            streams: One stream.
            alphabet: What may be read; the characters of the text and its confusions if not given.
        """
        known = self.symbols(sorted(set(text)), alphabet or self.made_of(text))
        place = {sign: number for number, sign in enumerate(known)}
        ids = torch.tensor([[place[sign] for sign in text]], dtype=torch.long)
        if self.edits:
            (row,) = self.edit_channel(known).corrupt(ids, streams)
        else:
            row = draws.choose(self.table(known)[ids], streams)[0].tolist()
        return "".join(known[number] for number in row)

    def made_of(self, text: str) -> list[str]:
        """What the characters of a text are mistaken for."""
        return sorted({c for x in set(text) for c in self.confusions.get(x, {})})

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        rows = {x: dict(row) for x, row in self.confusions.items()}
        return {
            **values, "rates": dict(self.rates), "losses": dict(self.losses),
            "letters": dict(self.letters), "confusions": rows,
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Writes JSON, atomically."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        with atomic_file(path) as work:
            work.write_text(text + "\n", encoding="utf-8")
        return Path(path)


def load(what: str | Path) -> Channel:
    """A channel that is built in, by name, or one that ``Channel.save`` wrote, by path.

    Raises:
        UnknownNameError: If it is neither.
        UnreadableFileError: If the file is damaged.
    """
    if str(what) in CHANNELS:
        return CHANNELS[str(what)]()
    path = Path(what)
    if not path.is_file():
        raise UnknownNameError("channel (or file of one)", str(what), CHANNELS)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(values) - {entry.name for entry in fields(Channel)}
        if unknown:
            raise ValueError(f"it has '{min(unknown)}', which no channel has")
        return Channel(**values)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg.lower()}"
        raise UnreadableFileError(path, where) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableFileError(path, f"it holds no channel ({error})") from error


def uniform(rate: float = 0.05, *, lost: float = 0.0, inserted: float = 0.0) -> Channel:
    """Any character for any other."""
    return Channel("uniform", rate, lost=lost, inserted=inserted)


def typo(rate: float = 0.05, *, lost: float = 0.0, inserted: float = 0.0) -> Channel:
    """Slips on a keyboard: the keys around the right one, or shift."""
    return Channel("typo", rate, {" ": BLANKS * rate}, KEYBOARD, lost=lost, inserted=inserted)


def ocr(rate: float = 0.05, *, lost: float = 0.0, inserted: float = 0.0) -> Channel:
    """Mistakes of machines that read print: letters that look alike."""
    return Channel("ocr", rate, {" ": BLANKS * rate}, LOOK_ALIKES, lost=lost, inserted=inserted)


CHANNELS = {"uniform": uniform, "typo": typo, "ocr": ocr}
