"""Tokenisers of pieces of words: trained on a corpus, or those of other people's models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.errors import CheckpointError, InvalidOptionError
from sfumato_text.alphabets import check_known
from sfumato_text.tokens import Encoded, Tokeniser

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Pretrained", "Subwords"]


@dataclass(frozen=True)
class Subwords(Tokeniser):
    """Pieces of words by byte-pair encoding (Sennrich et al., 2016), any text included.

    Args:
        state: The tokenizers library's own JSON.
    """

    name: ClassVar[str] = "subwords"
    state: str = field(repr=False)

    @classmethod
    def train(cls, text: str | Sequence[str], *, size: int = 1024) -> Subwords:
        """Learns up to ``size`` pieces, 256 bytes among them, from a corpus.

        Raises:
            InvalidOptionError: If ``size`` leaves no room for pieces.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        if size < 257:
            raise InvalidOptionError("subwords", f"size={size}", "use 257 or more")
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=[], show_progress=False,
        )  # fmt: skip
        lines = text.splitlines(keepends=True) if isinstance(text, str) else text
        made.train_from_iterator(lines, trainer)
        return cls(made.to_str())

    @cached_property
    def inner(self) -> tokenizers.Tokenizer:
        """The tokenizers library's object."""
        from tokenizers import Tokenizer

        made = Tokenizer.from_str(self.state)
        made.encode_special_tokens = True
        return made

    @property
    def tokens(self) -> int:
        return int(self.inner.get_vocab_size(with_added_tokens=True))

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        rows = [[number] for number in range(self.tokens)]
        return tuple(self.inner.decode_batch(rows, skip_special_tokens=False))

    def read(self, text: str) -> Encoded:
        found = self.inner.encode(text, add_special_tokens=False)
        ids = torch.tensor(found.ids, dtype=torch.long)
        spans = np.array(found.offsets, dtype=np.int64).reshape(-1, 2)
        return Encoded(text, ids, spans)

    def decode(self, ids: Int[Tensor, " length"] | Sequence[int]) -> str:
        return str(self.inner.decode(self.check_ids(ids), skip_special_tokens=False))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "state": json.loads(self.state)}


@dataclass(frozen=True)
class Pretrained(Subwords):
    """The tokeniser of some model, from a local folder.

    Args:
        state: The tokenizers library's own JSON.
        special: Ids that are no text.
        mask: Id of the model's mask token, or ``None``.
        count: Number of ids, added ones included.
    """

    name: ClassVar[str] = "pretrained"
    special: tuple[int, ...] = ()
    mask: int | None = None
    count: int = 0

    @classmethod
    def load(cls, folder: str | Path) -> Pretrained:
        """Reads a folder as transformers saves it; runs no code from it and fetches nothing.

        Raises:
            CheckpointError: If there is no tokeniser in it, or one without a fast version.
        """
        from transformers import AutoTokenizer

        path = Path(folder)
        if not path.is_dir():
            raise CheckpointError(path, "there is no such folder", "download the model first")
        try:
            found: Any = AutoTokenizer.from_pretrained(
                str(path), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(path, f"no tokeniser can be read from it ({why})") from error
        inner = getattr(found, "backend_tokenizer", None)
        if inner is None or not hasattr(inner, "to_str"):
            raise CheckpointError(
                path, f"{type(found).__name__} has no fast version",
                "save it with tokenizer.json, or use the bytes tokeniser",
            )  # fmt: skip
        special = tuple(sorted(set(found.all_special_ids)))
        # vocab_size leaves out added tokens, of which the mask often is one
        return cls(inner.to_str(), special, found.mask_token_id, len(found))

    @property
    def tokens(self) -> int:
        return self.count or super().tokens

    @property
    def forbidden(self) -> tuple[int, ...]:
        return self.special

    def read(self, text: str) -> Encoded:
        found = super().read(text)
        wrong = [k for k, value in enumerate(found.ids.tolist()) if value in set(self.special)]
        check_known(
            text, [(int(a), int(b)) for a, b in found.spans[wrong]],
            fix="take them out or use a tokeniser of characters or bytes",
        )  # fmt: skip
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            **super().to_dict(), "special": list(self.special), "mask": self.mask,
            "count": self.count,
        }  # fmt: skip
