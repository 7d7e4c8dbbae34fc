"""What sampled texts are like: varied or repetitive, new or copied, within their constraints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Corpus", "distinct", "entropy", "repetition", "satisfied"]

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that products of it never vanish modulo 2⁶⁴


def distinct(texts: Iterable[str], n: int = 4) -> float:
    """Share of the n-grams of characters that are not repeats (Li et al., 2016); NaN if none."""
    grams = Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))
    return len(grams) / grams.total() if grams else math.nan


def repetition(text: str, n: int = 4) -> float:
    """Share of the n-grams of a text that it has had before."""
    return 1 - distinct([text], n)


def entropy(texts: Iterable[str]) -> float:
    """Entropy of the single characters, in bits; 0 for one character over and over."""
    counts = Counter(sign for text in texts for sign in text)
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else math.nan


def satisfied(texts: Sequence[str], test: Callable[[str], object]) -> float:
    """Share of texts that pass a test, such as ``re.compile(pattern).fullmatch``."""
    return sum(bool(test(text)) for text in texts) / len(texts) if texts else math.nan


@dataclass(frozen=True)
class Corpus:
    """A text that others may have been copied from.

    Args:
        text: What a model was trained on.
    """

    text: str

    @cached_property
    def codes(self) -> NDArray[np.uint64]:
        return units(self.text)

    def copied(self, text: str) -> str:
        """The longest stretch of ``text`` that occurs in the corpus.

        By bisection of its length: rolling hashes of all stretches of one length on both sides are
        compared, and a match is then looked up.
        """
        low, high, best = 0, min(len(text), len(self.text)), ""
        codes = units(text)
        while low < high:
            length = (low + high + 1) // 2
            found = self.shared(text, codes, length)
            if found:
                low, best = length, found
            else:
                high = length - 1
        return best

    def shared(self, text: str, codes: NDArray[np.uint64], length: int) -> str:
        """A stretch of some length that both have; empty if there is none."""
        own, other = hashes(codes, length), hashes(self.codes, length)
        for start in np.flatnonzero(np.isin(own, other)).tolist():
            if text[start : start + length] in self.text:
                return text[start : start + length]
        return ""


def units(text: str) -> NDArray[np.uint64]:
    """Code points, scattered so that neighbours have nothing in common."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    mixed: NDArray[np.uint64] = (codes.astype(np.uint64) + np.uint64(1)) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    return mixed ^ (mixed >> np.uint64(31))


def hashes(codes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """Hashes of all stretches of one length: Σ_k codes[i + k] b^k modulo 2⁶⁴, by doubling."""
    if len(codes) < length:
        return np.zeros(0, dtype=np.uint64)
    total, done = np.zeros(len(codes) - length + 1, dtype=np.uint64), 0
    block, size, power = codes, 1, BASE
    offset_power = np.uint64(1)
    with np.errstate(over="ignore"):
        while done < length:
            if (length - done) & size:
                total = total + offset_power * block[done : done + len(total)]
                offset_power = offset_power * power
                done += size
            if done == length:
                break
            # h_{2s}(i) = h_s(i) + b^s h_s(i + s)
            block = block[:-size] + power * block[size:]
            power, size = power * power, 2 * size
    return total
