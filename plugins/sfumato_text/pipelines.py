"""Both ways between our denoisers and the text pipelines of diffusers.

``diffusers.LLaDA2Pipeline`` wants a module that is called as

    model(input_ids, attention_mask=…, position_ids=…).logits

and a tokeniser that knows MASK. ``PipelineModel`` and ``PipelineTokeniser`` are these, and
``from_pipeline`` makes a denoiser of any module that is called so. The pipeline's scheduler commits
MASK itself where logits favour it; ours never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sfumato.denoisers import Condition, TokenDenoiser, TokenNetwork
from sfumato.errors import InvalidOptionError
from sfumato.likelihood.masks import level_of, sizes
from sfumato.processes import Absorbing
from sfumato_text.tokens import Tokeniser

__all__ = ["PipelineModel", "PipelineTokeniser", "from_pipeline"]


class PipelineModel(nn.Module):
    """A denoiser of an absorbing process as the model of a pipeline; MASK is entry K.

    Args:
        denoiser: Any denoiser whose states are rows of tokens. One with a blind network answers
            with its leave-one-out belief where the text is shown, so that the pipeline's
            ``editing_threshold`` can correct it; others stand by what is shown.
    """

    def __init__(self, denoiser: TokenDenoiser) -> None:
        super().__init__()
        if denoiser.process.mask is None:
            raise InvalidOptionError("pipeline", f"{denoiser.process} has no MASK", "use another")
        self.denoiser = denoiser
        network = getattr(denoiser, "network", None)
        if isinstance(network, nn.Module):
            self.network = network  # so that the pipeline finds the device, and can move it

    @property
    def device(self) -> torch.device:
        """Where the pipeline is to put tokens."""
        return getattr(self.denoiser, "device", None) or torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, if there are any."""
        return getattr(self.denoiser, "dtype", None) or torch.float32

    def forward(
        self,
        input_ids: Int[Tensor, "batch length"],
        attention_mask: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "batch length"] | None = None,
    ) -> SimpleNamespace:
        """An object with ``logits``, ``[batch, length, K + 1]``; MASK has −∞.

        Args:
            input_ids: State.
            attention_mask: 1 where places exist; everywhere if not given.
            position_ids: Not looked at: places are counted from the left.
        """
        valid = torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask is not None:
            valid = attention_mask.bool()
        condition: Condition = {"valid": valid}
        process, d = self.denoiser.process, self.denoiser
        hidden = (input_ids == process.tokens) & valid
        t = level_of(process, sizes(hidden), sizes(valid))
        blind = isinstance(d, TokenNetwork) and d.blind
        found = (
            d.guesses(input_ids, t, condition)  # type: ignore[attr-defined]
            if blind
            else d(input_ids, t, condition).log_probs
        )
        logits = nn.functional.pad(found, (0, 1), value=-torch.inf)
        return SimpleNamespace(logits=logits)


class PipelineTokeniser:
    """One of our tokenisers as a pipeline calls it.

    Args:
        tokeniser: Ours.
        end: A token that ends a text; none if not given.
    """

    chat_template: str | None = None

    def __init__(self, tokeniser: Tokeniser, *, end: int | None = None) -> None:
        self.tokeniser = tokeniser
        self.mask_token_id = tokeniser.tokens
        self.pad_token_id = self.eos_token_id = end

    def __call__(
        self, prompt: str | Sequence[str], return_tensors: str = "pt", padding: bool = False
    ) -> dict[str, Tensor]:
        """Tokens and which of them exist; texts of a list must be equally long."""
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        rows = [self.tokeniser.encode(text) for text in texts]
        if len({len(row) for row in rows}) > 1:
            raise InvalidOptionError(
                "pipeline", f"prompts of {sorted({len(row) for row in rows})} tokens",
                "give prompts of one length, or one at a time",
            )  # fmt: skip
        ids = torch.stack(rows)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def batch_decode(
        self, sequences: Iterable[Tensor], skip_special_tokens: bool = True
    ) -> list[str]:
        """Texts; MASK and the end are left out."""
        known = self.tokeniser.tokens
        return [
            self.tokeniser.decode([v for v in row.tolist() if v < known and v != self.eos_token_id])
            for row in sequences
        ]


class Signature(nn.Module):
    """A module with a pipeline's signature, called as our networks are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: Int[Tensor, "batch length"], valid: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length entries"]:
        """Logits; positions count the places that exist."""
        position = (valid.long().cumsum(dim=1) - 1).clamp(min=0)
        output: Any = self.model(ids, attention_mask=valid.long(), position_ids=position)
        logits: Tensor = output.logits
        return logits


def from_pipeline(
    model: nn.Module,
    tokens: int,
    *,
    mask: int | None = None,
    suppressed: Sequence[int] = (),
    right_shift: bool = False,
) -> TokenNetwork:
    """A module with the signature of ``LLaDA2Pipeline``'s model as a denoiser.

    Args:
        model: ``model(input_ids, attention_mask=…, position_ids=…).logits``.
        tokens: K, how many of its entries count as clean tokens.
        mask: Number of MASK in its vocabulary; K if not given.
        suppressed: Entries that are never data.
        right_shift: Whether output i − 1 is about place i.
    """
    never = tuple(suppressed) if mask is None else (*suppressed, mask)
    return TokenNetwork(
        Signature(model), Absorbing(tokens), mask_id=mask, suppressed=never, right_shift=right_shift
    )
