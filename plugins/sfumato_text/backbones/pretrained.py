"""Networks that others have trained, from a folder, a file or a model hub.

    masked language models      BERT, RoBERTa, ModernBERT, EuroBERT, DeBERTa, …, by transformers
    Llama's family              LLaDA, Dream, Llama, Mistral, Qwen2, as a bidirectional Llama
    MDLM, SEDD, BD3-LM          Lightning or plain checkpoints, as a DiT

No code that comes with a checkpoint is run, and nothing is unpickled but tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sfumato.errors import CheckpointError
from sfumato_text.backbones.checkpoint_files import (
    described,
    fill,
    first_line,
    local,
    read_file,
    read_weights,
)
from sfumato_text.backbones.dit import DiT
from sfumato_text.backbones.llama import BidirectionalLlama
from sfumato_text.backbones.masked_lms import MaskedLM, transformers

__all__ = ["Loaded", "load", "load_dit"]

LLAMAS = {"llada", "dream", "llama", "mistral", "qwen2"}
"""Values of ``model_type``, in lower case, that are read as a bidirectional Llama."""

LLADA = {
    r"model\.transformer\.wte\.": "model.embed_tokens.",
    r"model\.transformer\.ln_f\.": "model.norm.",
    r"model\.transformer\.ff_out\.": "lm_head.",
    r"model\.transformer\.blocks\.(\d+)\.([qkv])_proj\.": r"model.layers.\1.self_attn.\2_proj.",
    r"model\.transformer\.blocks\.(\d+)\.attn_out\.": r"model.layers.\1.self_attn.o_proj.",
    r"model\.transformer\.blocks\.(\d+)\.ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
    r"model\.transformer\.blocks\.(\d+)\.up_proj\.": r"model.layers.\1.mlp.up_proj.",
    r"model\.transformer\.blocks\.(\d+)\.ff_out\.": r"model.layers.\1.mlp.down_proj.",
    r"model\.transformer\.blocks\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
    r"model\.transformer\.blocks\.(\d+)\.ff_norm\.": r"model.layers.\1.post_attention_layernorm.",
}
"""LLaDA's names of weights, and ours."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network and what it takes to build it again.

    Args:
        backbone: Its name in the plugin.
        options: What it was built with, as JSON values.
        network: With its weights.
        tokens: K: how many entries of its vocabulary a process counts as clean tokens.
    """

    backbone: str
    options: dict[str, Any]
    network: nn.Module
    tokens: int


def load(
    source: str | Path,
    *,
    mask: int | None = None,
    suppressed: Sequence[int] | None = None,
    right_shift: bool | None = None,
) -> Loaded:
    """A masked language model, or a Llama to be one.

    Args:
        source: Folder with ``config.json`` and weights, or "owner/name" on the hub.
        mask: Number of MASK; of the tokeniser in the folder, or of the configuration, if not given.
        suppressed: Entries that are never data; the tokeniser's special tokens if not given.
        right_shift: For the Llama family: whether output i − 1 is about place i. If not given, not
            for LLaDA, and for all others.

    Raises:
        CheckpointError: If the folder is not such a model, or says nowhere what MASK is.
        MissingDependencyError: If it takes a library that is not installed.
    """
    folder = local(source)
    config = described(folder)
    family = str(config.get("model_type", "")).lower()
    found_mask, found_never = special_tokens(folder, config)
    mask = found_mask if mask is None else mask
    if mask is None:
        raise CheckpointError(folder, "nothing in it says which token is MASK", "give mask=…")
    entries = int(config.get("embedding_size") or config.get("vocab_size") or mask + 1)
    if not 0 <= mask < entries:
        raise CheckpointError(
            folder, f"its MASK, {mask}, is none of its {entries} entries", "give mask=…"
        )
    never = tuple(found_never if suppressed is None else suppressed)
    if family in LLAMAS:
        shift = family != "llada" if right_shift is None else right_shift
        return load_llama(folder, config, mask, never, shift)
    library = transformers()
    try:
        model = library.AutoModelForMaskedLM.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, dtype=torch.float32
        )
    except (ValueError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            folder, f"transformers finds no masked language model in it ({first_line(error)})"
        ) from error
    options = {"config": json.loads(model.config.to_json_string(use_diff=False))}
    options |= {"mask": mask, "suppressed": list(never)}
    network = MaskedLM(**options)
    network.model = model
    return Loaded("masked-lm", options, network.eval(), int(model.config.vocab_size))


def load_llama(
    folder: Path, config: Mapping[str, Any], mask: int, never: tuple[int, ...], shift: bool
) -> Loaded:
    weights = {renamed(name): value for name, value in read_weights(folder).items()}
    embedding = weights.get("model.embed_tokens.weight")
    if embedding is None:
        raise CheckpointError(folder, "it holds no weights of a Llama or a LLaDA")
    weights.setdefault("lm_head.weight", embedding)
    options = llama_options(config, weights, folder)
    options |= {"mask": mask, "suppressed": list(never), "right_shift": shift}
    network = BidirectionalLlama(**options)
    fill(network, weights, folder)
    known = int(config.get("vocab_size") or len(embedding))
    return Loaded("bidirectional-llama", options, network.eval(), min(known, len(embedding)))


def llama_options(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path
) -> dict[str, Any]:
    """Options of ``BidirectionalLlama``, by the names of either family."""

    def setting(*names: str, default: Any = None) -> Any:
        return next((config[n] for n in names if config.get(n) is not None), default)

    turns = setting("rope_parameters", "rope_scaling", default={})
    if turns.get("rope_type", turns.get("type", "default")) != "default":
        raise CheckpointError(folder, f"its rotary positions are scaled ({turns})")
    heads = setting("num_attention_heads", "n_heads")
    entries, width = weights["model.embed_tokens.weight"].shape
    layers = {int(n.split(".")[2]) for n in weights if n.startswith("model.layers.")}
    if not heads or not layers:
        raise CheckpointError(folder, "its configuration names no attention heads, or no layers")
    keys = weights.get("model.layers.0.self_attn.k_proj.weight", torch.empty(0))
    head = setting("head_dim", default=width // heads)
    return {
        "entries": entries, "width": width, "heads": heads, "layers": len(layers),
        "hidden": len(weights.get("model.layers.0.mlp.gate_proj.weight", keys)),
        "groups": len(keys) // head, "head": head,
        "base": float(turns.get("rope_theta") or setting("rope_theta", default=10_000.0)),
        "eps": float(setting("rms_norm_eps", "layer_norm_eps", default=1e-5)),
        "bias": "model.layers.0.self_attn.q_proj.bias" in weights,
    }  # fmt: skip


def load_dit(
    path: str | Path,
    *,
    heads: int = 0,
    timed: bool = False,
    block: int = 0,
    average: bool = True,
) -> Loaded:
    """A checkpoint of MDLM, SEDD or BD3-LM. MASK is the last entry of its vocabulary.

    Args:
        path: A file (``.ckpt``, ``.pth``, ``.bin``, ``.safetensors``) or a folder with one.
        heads: Of attention; one per 64 of the width if 0, as in the published ones.
        timed: Whether the noise level is told: SEDD, and MDLM with ``time_conditioning``.
        block: Length of the blocks of BD3-LM; 0 for the others.
        average: Whether to take the moving average of the weights, where the file has one.

    Raises:
        CheckpointError: If it is damaged, or no such checkpoint.
    """
    stored = read_file(Path(path))
    weights = next((stored[k] for k in ("state_dict", "model") if k in stored), stored)
    weights = {bare(name): value for name, value in weights.items() if isinstance(value, Tensor)}
    if "vocab_embed.embedding" not in weights:
        raise CheckpointError(path, "it holds no weights of a diffusion transformer")
    entries, width = weights["vocab_embed.embedding"].shape
    clock = weights.get("sigma_map.mlp.2.bias")
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
    options = {
        "entries": entries, "width": width, "heads": heads or max(width // 64, 1),
        "layers": len(blocks), "clock": 0 if clock is None else len(clock), "timed": timed,
        "block": block,
    }  # fmt: skip
    network = DiT(**options)
    shadow = stored.get("ema") if average else None
    if shadow:
        names = [n for n in weights if n in dict(network.named_parameters())]
        weights = weights | averaged(names, weights, shadow, path)
    fill(network, weights, path)
    return Loaded("dit", options, network.eval(), entries - 1)


def averaged(
    names: Sequence[str], weights: Mapping[str, Tensor], shadow: Any, path: str | Path
) -> dict[str, Tensor]:
    """The moving average, which is stored as a list in the order of the parameters."""
    values = shadow.get("shadow_params", []) if isinstance(shadow, Mapping) else list(shadow)
    fits = len(values) >= len(names) and all(
        value.shape == weights[name].shape for name, value in zip(names, values, strict=False)
    )
    if not fits:
        raise CheckpointError(
            path, f"its average has {len(values)} tensors that do not match {len(names)} weights",
            "load it with average=False",
        )  # fmt: skip
    return dict(zip(names, values, strict=False))


def renamed(name: str) -> str:
    """Our name for a weight of LLaDA; others are left as they are."""
    for pattern, ours in LLADA.items():
        # the wrapper that transformers knows adds a "model." of its own
        found, changed = re.subn(rf"^(?:model\.)?{pattern}", ours, name)
        if changed:
            return found
    return name


def bare(name: str) -> str:
    """A weight's name without what wrapped the network."""
    return re.sub(r"^(?:(?:backbone|module|model|_orig_mod)\.)+", "", name)


def special_tokens(folder: Path, config: Mapping[str, Any]) -> tuple[int | None, list[int]]:
    """MASK, and all entries that are never data."""
    named = (f"{kind}_token_id" for kind in ("pad", "bos", "eos", "cls", "sep", "mask"))
    listed = [config[name] for name in named if isinstance(config.get(name), int)]
    mask = config.get("mask_token_id")
    if any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
        try:
            tokenizer = transformers().AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (ValueError, KeyError, OSError, AttributeError) as error:
            raise CheckpointError(
                folder, f"its tokeniser cannot be read ({first_line(error)})"
            ) from error
        mask = mask if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        listed = [*listed, *tokenizer.all_special_ids]
    return mask, sorted({int(token) for token in listed} - {mask})
