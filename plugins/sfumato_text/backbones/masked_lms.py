"""Masked language models of transformers, as they are or from scratch.

Any architecture for which transformers itself has a masked language model can be a backbone; code
that comes with a checkpoint is never run. transformers is imported when a network is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sfumato.denoisers import TokenNetwork
from sfumato.errors import InvalidOptionError, MissingDependencyError, ShapeError
from sfumato.plugin import is_installed
from sfumato.processes import Categorical

__all__ = ["Bert", "EuroBert", "MaskedLM", "ModernBert", "transformers"]


OFFSET = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer")


class MaskedLM(nn.Module):
    """A masked language model with the signature of our networks.

    Args:
        config: Its configuration, as in ``config.json``; ``model_type`` says which.
        mask: Number of MASK in its vocabulary; the last entry if not given, as in the networks
            that are made from scratch here.
        suppressed: Entries that are never data.

    Raises:
        MissingDependencyError: If transformers is not installed.
        InvalidOptionError: If there is no masked language model of this configuration.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        mask: int | None = None,
        suppressed: Sequence[int] = (),
    ) -> None:
        super().__init__()
        library = transformers()
        given = dict(config)
        family = given.pop("model_type", "")
        try:
            built = library.AutoConfig.for_model(family, **given)
            self.model: nn.Module = library.AutoModelForMaskedLM.from_config(built)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InvalidOptionError(
                "masked language model", f"model_type={family!r} cannot be built ({why[:120]})",
                "use bert, modernbert, eurobert, roberta, … with their own settings",
            ) from error  # fmt: skip
        self.mask, self.suppressed = mask, tuple(suppressed)
        self.longest = longest(built)
        self.register_state_dict_post_hook(drop_shared)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(restore_shared)  # type: ignore[no-untyped-call]

    def denoiser(self, process: Categorical) -> TokenNetwork:
        """This network as a denoiser."""
        never = self.suppressed if self.mask is None else (*self.suppressed, self.mask)
        return TokenNetwork(self, process, mask_id=self.mask, suppressed=never)

    def forward(
        self, ids: Int[Tensor, "batch length"], valid: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length entries"]:
        """Logits; ``valid`` says which places exist.

        Raises:
            ShapeError: If the text is longer than the positions that the model knows.
        """
        if self.longest and ids.shape[1] > self.longest:
            raise ShapeError("a text", ids.shape[1:], f"at most {self.longest} tokens")
        logits: Tensor = self.model(input_ids=ids, attention_mask=valid.long()).logits
        return logits


class Scratch(MaskedLM):
    """A masked language model without weights, over ``tokens`` and MASK.

    Args:
        own: Settings of this architecture alone.
        tokens: K.
        width: Of the states.
        heads: Of attention.
        layers: How many.
        hidden: Width of the feed-forward layers; ``widening``·width if 0.
        length: Longest text, where positions are learnt.
    """

    family: ClassVar[str]
    widening: ClassVar[int] = 2

    def __init__(
        self,
        own: Mapping[str, Any] | None = None,
        /,
        *,
        tokens: int,
        width: int = 192,
        heads: int = 4,
        layers: int = 4,
        hidden: int = 0,
        length: int = 1024,
    ) -> None:
        super().__init__(
            config={
                "model_type": self.family, "vocab_size": tokens + 1, "hidden_size": width,
                "num_attention_heads": heads, "num_hidden_layers": layers,
                "intermediate_size": hidden or self.widening * width,
                "max_position_embeddings": length, "pad_token_id": None, **(own or {}),
            }
        )  # fmt: skip


class Bert(Scratch):
    """BERT (Devlin et al., 2019). Arguments of ``Scratch``; texts of up to 512 tokens."""

    family = "bert"
    widening = 4

    def __init__(self, *, length: int = 512, **sizes: int) -> None:
        super().__init__(length=length, **sizes)


class ModernBert(Scratch):
    """ModernBERT (Warner et al., 2024): rotary positions, gated layers.

    Args:
        local: Places that most layers see; every third sees everything.
        sizes: Arguments of ``Scratch``.
    """

    family = "modernbert"

    def __init__(self, *, local: int = 128, **sizes: int) -> None:
        special = dict.fromkeys(f"{kind}_token_id" for kind in ("cls", "sep", "bos", "eos"))
        super().__init__({"local_attention": local, **special}, **sizes)


class EuroBert(Scratch):
    """EuroBERT (Boizard et al., 2025): a Llama that sees both sides.

    Args:
        tokens: K.
        heads: Of attention.
        groups: Heads of keys and values; as many as ``heads`` if 0.
        sizes: Other arguments of ``Scratch``.
    """

    family = "eurobert"

    def __init__(self, *, tokens: int, heads: int = 4, groups: int = 0, **sizes: int) -> None:
        own = {
            "num_key_value_heads": groups or heads, "bos_token_id": None, "eos_token_id": None,
            "mask_token_id": tokens,
        }  # fmt: skip
        super().__init__(own, tokens=tokens, heads=heads, **sizes)


def longest(config: Any) -> int:
    """How long a text may be; 0 if positions are relative or turned."""
    turned = getattr(config, "rope_parameters", None) is not None
    known = getattr(config, "max_position_embeddings", 0) or 0
    offset = 2 if getattr(config, "model_type", "") in OFFSET else 0
    return 0 if turned else int(known) - offset


def drop_shared(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Leaves one name of each tensor that has several: files hold no tensor twice."""
    first: dict[tuple[int, torch.Size], str] = {}
    for name in [name for name in state if name.startswith(prefix)]:
        key = (state[name].data_ptr(), state[name].shape)
        if state[name].numel() and first.setdefault(key, name) != name:
            del state[name]


def restore_shared(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Brings back the names that ``drop_shared`` left out."""
    names: dict[tuple[int, torch.Size], list[str]] = {}
    tensors = [*module.named_parameters(remove_duplicate=False)]
    for name, value in tensors:
        names.setdefault((value.data_ptr(), value.shape), []).append(prefix + name)
    for group in names.values():
        known = next((name for name in group if name in state), None)
        for name in group if known is not None else ():
            state.setdefault(name, state[known])  # type: ignore[index]


def transformers() -> ModuleType:
    """The transformers library.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    if not is_installed("transformers"):
        raise MissingDependencyError("this network", ["transformers"], "transformers")
    library: ModuleType = importlib.import_module("transformers")
    return library
