"""What a reader of pages says of its own certainty, as a likelihood of every character.

A reader that reports y_i with confidence c_i errs with chance ε_i, a compromise between what the
channel has counted, ε, and its own word:

    ε_i = ε^(1−τ) (1 − c_i)^τ.

Errors go where the channel says, except for a share λ that goes to the other readings that the
reader itself reports, in proportion to their confidences a_i(v):

    ℓ_i(v) = (1 − ε_i) [v = y_i] + ε_i ((1 − λ_i) d_v(y_i) + λ_i a_i(v)) [v ≠ y_i],

d_v(y) being the channel's distribution of what v is read as if wrongly, and λ_i = 0 where there are
no other readings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato.files import atomic_file
from sfumato_text.channels import Channel
from sfumato_text.files.documents import Document

__all__ = ["Calibration", "alternatives", "soft_sites"]

LEAST, MOST = 0.001, 0.98
"""Bounds of ε_i: no reader is certain, and none is always wrong."""

ROUNDS = 50


@dataclass(frozen=True)
class Calibration:
    """What a reader's confidence is worth: ln p/(1 − p) = a + b ln c/(1 − c) (Platt, 1999).

    Args:
        intercept: a.
        slope: b.
    """

    intercept: float = 0.0
    slope: float = 1.0

    @classmethod
    def fit(
        cls, confidences: Sequence[float], right: Sequence[bool], *, weight: float = 1.0
    ) -> Calibration:
        """The most likely a and b, given which characters were right, by Newton's method.

        Args:
            confidences: One for each character; those that are NaN are left out.
            right: Whether it was read rightly.
            weight: How firmly a = 0 and b = 1 are held: the precision of a normal prior.

        Raises:
            InvalidOptionError: If there are not as many of both, or none.
        """
        c, hit = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
        if c.shape != hit.shape or not (~np.isnan(c)).any():
            raise InvalidOptionError(
                "calibration", f"{c.size} confidences for {hit.size} characters",
                "give one for each, and some that are known",
            )  # fmt: skip
        hit, c = hit[~np.isnan(c)], c[~np.isnan(c)]
        design = np.stack([np.ones_like(c), logit(c)], axis=1)
        start = theta = np.array([0.0, 1.0])
        for _ in range(ROUNDS):
            p = 1 / (1 + np.exp(-design @ theta))
            slope = design.T @ (p - hit) + weight * (theta - start)
            curve = (design * (p * (1 - p))[:, None]).T @ design + weight * np.eye(2)
            step = np.linalg.solve(curve, slope)
            theta = theta - step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-12))
        return cls(float(theta[0]), float(theta[1]))

    def save(self, path: str | Path) -> Path:
        """Writes JSON, atomically."""
        with atomic_file(path) as work:
            work.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """What ``save`` wrote.

        Raises:
            UnreadableFileError: If there is no such file, or it holds no calibration.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(float(values["intercept"]), float(values["slope"]))
        except OSError as error:
            raise UnreadableFileError(path, error.strerror or str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableFileError(
                path, "it holds no calibration", "write one with Calibration.fit(…).save(path)"
            ) from error

    def __call__(self, document: Document) -> Document:
        """The document with what its confidences are worth."""
        if document.confidence is None:
            return document
        worth = 1 / (1 + np.exp(-self.intercept - self.slope * logit(document.confidence)))
        return replace(document, confidence=worth)


def logit(c: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(c, LEAST, 1 - LEAST)
    found: NDArray[np.float64] = np.log(bounded / (1 - bounded))
    return found


def soft_sites(
    document: Document,
    alphabet: Sequence[str],
    channel: Channel,
    *,
    trust: float = 0.5,
    other: float = 0.5,
) -> Float[Tensor, "length tokens"]:
    """ln ℓ_i(v) of every character of a document.

    Characters in no slot of its file, such as line ends, are certain; where the alphabet lacks one,
    it says nothing.

    Args:
        document: With confidences and other readings, as far as a file has them.
        alphabet: Each v.
        channel: What errors look like.
        trust: τ in [0, 1]: how far confidences are believed.
        other: λ in [0, 1].

    Raises:
        InvalidOptionError: If ``trust`` or ``other`` is no share.
    """
    for what, value in (("trust", trust), ("other", other)):
        if not 0 <= value <= 1:
            raise InvalidOptionError("confidences", f"{what}={value}", "use 0 to 1")
    text = document.text
    place = {sign: number for number, sign in enumerate(alphabet)}
    usual = channel.sites(text, alphabet).exp()
    error, spread = split(text, place, usual, channel)
    own = rates(document, error, trust)
    heard = alternatives(document, place)
    some = heard.sum(dim=1, keepdim=True)
    share = other * (some > 0)
    found = own * ((1 - share) * spread + share * heard / some.clamp(min=1e-300))
    for i, sign in enumerate(text):
        if sign in place:
            found[i, place[sign]] = 1 - own[i, 0]
    fixed = torch.from_numpy(~document.editable)
    for i in fixed.nonzero()[:, 0].tolist():
        found[i] = 0 if text[i] in place else 1
        if text[i] in place:
            found[i, place[text[i]]] = 1
    return found.log()


def split(
    text: str, place: dict[str, int], usual: Tensor, channel: Channel
) -> tuple[Float[Tensor, "length 1"], Float[Tensor, "length tokens"]]:
    """The channel's chance of error at each character, and d_v(y)."""
    rate = torch.tensor(
        [[channel.rates.get(sign, channel.rate)] for sign in text], dtype=torch.float64
    )
    errors = torch.tensor(
        [channel.rates.get(sign, channel.rate) for sign in place], dtype=torch.float64
    )
    spread = usual / errors.clamp(min=1e-12)
    for i, sign in enumerate(text):
        if sign in place:
            spread[i, place[sign]] = 0
    return rate, spread.clamp(max=1)


def rates(
    document: Document, error: Float[Tensor, "length 1"], trust: float
) -> Float[Tensor, "length 1"]:
    """ε_i."""
    told = document.confidence
    known: NDArray[np.float64] = np.full(len(document.text), np.nan) if told is None else told
    own = torch.from_numpy(1 - known).unsqueeze(1).clamp(LEAST, MOST)
    mixed = error.clamp(LEAST, MOST) ** (1 - trust) * own**trust
    return torch.where(own.isnan(), error.clamp(LEAST, MOST), mixed)


def alternatives(document: Document, place: dict[str, int]) -> Float[Tensor, "length tokens"]:
    """a_i(v), not normalised: confidences of other readings that are as long as what was read."""
    found = torch.zeros(len(document.text), len(place), dtype=torch.float64)
    for variant in document.variants:
        if len(variant.text) != variant.end - variant.start:
            continue
        weight = 0.1 if variant.confidence is None else variant.confidence
        for i, sign in enumerate(variant.text, variant.start):
            if sign != document.text[i] and sign in place:
                found[i, place[sign]] += weight
    return found
