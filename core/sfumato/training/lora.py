"""Low-rank adapters for the convolutions and linear layers of any network (Hu et al., 2022).

A layer with weights W becomes W + (α/r) B A with A [r, in, *kernel] and B [out, r, 1, …]; B starts
at 0, so the network starts as it was. Only A and B are trained: a few per cent of the weights,
and of the checkpoint. ``peft`` brings the layers; merging is one product, done here for every
number of dimensions.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfumato import files
from sfumato.errors import CheckpointError, InvalidOptionError
from sfumato.noise import derive
from sfumato.training.configs import LoRA

__all__ = ["adapters", "inject", "load", "merge", "save"]

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
ADAPTER = "default"


def inject(network: nn.Module, config: LoRA, *, seed: int = 0) -> nn.Module:
    """Adds adapters to ``network`` in place, and freezes everything else.

    Args:
        network: Any module.
        config: Rank, scale, and which layers.
        seed: Of the initial A.

    Raises:
        InvalidOptionError: If no layer matches.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = matching(network, config)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        # a pattern, since peft takes a list of names for endings of names
        target_modules="|".join(map(re.escape, names)),
    )
    with torch.random.fork_rng(devices=[]):  # peft draws A from the global generator
        torch.default_generator.manual_seed(derive(seed, "lora"))
        inject_adapter_in_model(settings, network, adapter_name=ADAPTER)
    return network


def matching(network: nn.Module, config: LoRA) -> list[str]:
    """Names of the layers to adapt."""
    possible = [name for name, layer in network.named_modules() if name and adaptable(layer)]
    patterns = config.targets or ("*",)
    names = [name for name in possible if any(fnmatch.fnmatch(name, p) for p in patterns)]
    if not names:
        known = ", ".join(possible[:6]) + (", ..." if len(possible) > 6 else "")
        raise InvalidOptionError(
            "lora", f"targets={list(patterns)} match no layer of {type(network).__name__}",
            f"layers that can be adapted: {known or 'none'}",
        )  # fmt: skip
    return names


def adaptable(layer: nn.Module) -> bool:
    """Whether a layer can be adapted; subclasses may use their weights in other ways."""
    if type(layer) not in LAYERS:
        return False
    if isinstance(layer, nn.Linear):
        return True
    # the adapter's own convolution knows neither groups nor dilation nor other paddings
    dilated = any(int(d) != 1 for d in layer.dilation)  # type: ignore[union-attr]
    return bool(layer.groups == 1) and not dilated and layer.padding_mode == "zeros"


def adapted(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that have adapters."""
    for name, layer in network.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "base_layer"):
            yield name, layer


def merge(network: nn.Module) -> nn.Module:
    """Adds every adapter to its weights and removes it, in place; returns ``network``.

    The result has the layers and the names that the network had before ``inject``.
    """
    for name, layer in list(adapted(network)):
        base = layer.base_layer
        with torch.no_grad():
            base.weight += update(layer).to(base.weight.dtype)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, base)
    if hasattr(network, "peft_config"):
        del network.peft_config
    return network


def update(layer: Any) -> Tensor:
    """(α/r) B A in the shape of the layer's weights."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    product = b.flatten(1) @ a.flatten(1)
    scaled: Tensor = layer.scaling[ADAPTER] * product.view_as(layer.base_layer.weight)
    return scaled


def adapters(network: nn.Module) -> dict[str, Tensor]:
    """Name → weights of A and B, without the rest of the network."""
    return {name: p for name, p in network.state_dict().items() if ".lora_" in name}


def save(network: nn.Module, config: LoRA, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes ``adapter.safetensors`` and ``adapter.json``.

    Raises:
        OutputExistsError: If the folder is in use.
    """
    with files.atomic_folder(folder, overwrite=overwrite) as target:
        weights = {name: p.contiguous().cpu() for name, p in adapters(network).items()}
        save_file(weights, target / "adapter.safetensors")
        (target / "adapter.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    return Path(folder)


def load(network: nn.Module, folder: str | Path) -> nn.Module:
    """Adds stored adapters to the network that they were trained on, in place.

    Raises:
        CheckpointError: If the folder is damaged or belongs to another network.
    """
    try:
        config = LoRA(**json.loads(Path(folder, "adapter.json").read_text(encoding="utf-8")))
        weights = load_file(Path(folder, "adapter.safetensors"))
        inject(network, config)
        missing = set(adapters(network)) ^ set(weights)
        if missing:
            raise CheckpointError(folder, f"it is for another network ('{min(missing)}')")
        network.load_state_dict(weights, strict=False)
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(folder, f"it is no adapter ({why})") from error
    return network
