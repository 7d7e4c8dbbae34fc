"""Models that others have trained, as priors."""

from __future__ import annotations

from pathlib import Path

from sfumato.errors import CheckpointError
from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior
from sfumato_text.backbones.checkpoint_files import local
from sfumato_text.backbones.pretrained import load
from sfumato_text.subwords import Pretrained

__all__ = ["masked_lm"]


def masked_lm(source: str | Path) -> TokenPrior:
    """A masked language model, or a checkpoint of LLaDA's or Llama's kind, with its tokeniser.

    Args:
        source: Folder, or "owner/name" on the hub. Nothing in it is run.

    Raises:
        CheckpointError: If it is no such model, or has no tokeniser of its own.
    """
    folder = local(source)
    tokeniser = Pretrained.load(folder)
    found = load(folder, mask=tokeniser.mask, suppressed=tokeniser.special)
    entries = int(found.options.get("entries") or found.options["config"]["vocab_size"])
    if tokeniser.tokens > entries:
        raise CheckpointError(
            folder, f"its tokeniser has {tokeniser.tokens} tokens, its network {entries}",
            "use the tokeniser that it was trained with",
        )  # fmt: skip
    expert = Expert(found.backbone, found.network, found.options)
    card = {"name": Path(source).name, "source": str(source)}
    return TokenPrior.of([expert], Absorbing(tokeniser.tokens), tokeniser, plugin="text", card=card)
