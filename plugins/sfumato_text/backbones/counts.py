"""Counts of n-grams as a backbone: a text, compressed, and the discounts learnt for it.

Its tensors are the text itself and a small table; everything else is counted when it is first
asked, which takes seconds for millions of characters.
"""

from __future__ import annotations

import lzma
from functools import cached_property

import numpy as np
import torch
from torch import nn

from sfumato.errors import UnsupportedError
from sfumato.inverse.tokens.histories import Chained
from sfumato.inverse.tokens.lattices import Limits
from sfumato.processes.categorical import Categorical
from sfumato_text.counting import counted_model
from sfumato_text.datasets import Texts
from sfumato_text.discounts import CLASSES, KINDS, Discounts
from sfumato_text.ngrams import NGrams

__all__ = ["Counts"]


class Counts(nn.Module):
    """An n-gram model of characters.

    Args:
        alphabet: The characters, in the order of their tokens.
        order: Longest context.
        packed: Bytes of the compressed text.
        beam: Histories that a lattice holds when it is asked as a denoiser.
    """

    packed: torch.Tensor
    discounts: torch.Tensor

    def __init__(self, alphabet: str, order: int, packed: int, beam: int = 64) -> None:
        super().__init__()
        self.alphabet, self.beam = alphabet, beam
        self.register_buffer("packed", torch.zeros(packed, dtype=torch.uint8))
        self.register_buffer("discounts", torch.zeros(order + 1, KINDS, CLASSES))

    @classmethod
    def of(cls, model: NGrams, beam: int = 64) -> Counts:
        """A counted model as a backbone."""
        plain = model.text.astype(width(model.alphabet)).tobytes()
        packed = lzma.compress(plain, preset=9 | lzma.PRESET_EXTREME)
        made = cls(model.alphabet, model.order, len(packed), beam)
        made.packed.copy_(torch.frombuffer(bytearray(packed), dtype=torch.uint8))
        made.discounts.copy_(torch.from_numpy(np.asarray(model.discounts.values)))
        return made.eval()

    @property
    def options(self) -> dict[str, object]:
        """What makes an empty one of the same size."""
        return {
            "alphabet": self.alphabet, "order": len(self.discounts) - 1,
            "packed": len(self.packed), "beam": self.beam,
        }  # fmt: skip

    @cached_property
    def model(self) -> NGrams:
        """The chain; counted on first use."""
        plain = lzma.decompress(self.packed.cpu().numpy().tobytes())
        text = np.frombuffer(plain, width(self.alphabet))
        values = self.discounts.float().cpu().numpy()
        return NGrams(text.astype(np.int64), self.alphabet, Discounts(values))

    def refit(self, data: Texts) -> tuple[Counts, dict[str, object], dict[str, float]]:
        """The same, counted in its own text and another; the held-out part says the discounts.

        Args:
            data: Texts in the characters of the alphabet.

        Returns:
            The module, what makes an empty one of its size, and bits per character of the held-out
            part.

        Raises:
            UnsupportedError: If the data are no texts, or nothing of them is held out.
        """
        apart = data.validation() if isinstance(data, Texts) else None
        if apart is None:
            raise UnsupportedError(
                "counting", "texts of which a part is held out", f"found {data!r}"
            )
        old = "".join(self.alphabet[token] for token in self.model.text.tolist())
        order = len(self.discounts) - 1
        model, bits = counted_model(f"{old}{data.text}", [apart.text], self.alphabet, order=order)
        made = Counts.of(model, self.beam)
        return made, made.options, {"bits_per_token": bits}

    def denoiser(self, process: Categorical) -> Counted:
        """Its beliefs under a process."""
        return Counted(process, self)


def width(alphabet: str) -> str:
    """The numbers that a text is stored in: a byte for each letter, two where there are many."""
    return "u1" if len(alphabet) <= 256 else "<u2"


class Counted(Chained):
    """The denoiser of counts that are made when they are first needed."""

    def __init__(self, process: Categorical, counts: Counts) -> None:
        for name, value in (("process", process), ("counts", counts)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "limits", Limits(beam=counts.beam))

    @property
    def chain(self) -> NGrams:
        counts: Counts = self.__dict__["counts"]
        return counts.model
