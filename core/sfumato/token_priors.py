"""A prior over tokens: one or several experts, their process, and the codec that makes tokens.

    prior.json          what it is: experts, process, codec, model card
    prior.safetensors   the tensors of all experts, named by the expert's number

An *expert* is a plugin's backbone: a network that returns logits, or a module that is a denoiser by
itself, such as tables of counts. Several experts form a product: log-beliefs are added with their
weights (``sfumato.denoisers.experts``).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sfumato import files
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.denoisers.experts import ProductOfExperts
from sfumato.denoisers.token_networks import TokenNetwork
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.prior_folders import FORMAT, finite, plain
from sfumato.prior_shapes import words
from sfumato.priors import Prior
from sfumato.processes.categorical import Categorical
from sfumato.processes.naming import categorical_from, named
from sfumato.registry import load_plugin

__all__ = ["Expert", "TokenPrior", "build"]


@dataclass(frozen=True, eq=False)
class Expert:
    """One member of a prior.

    Args:
        backbone: Its name in the plugin.
        module: The network or table.
        options: What it was built with.
        weight: Its power in the product.
    """

    backbone: str
    module: nn.Module
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0

    def denoiser(self, process: Categorical) -> TokenDenoiser:
        """Its beliefs under ``process``."""
        own = getattr(self.module, "denoiser", None)
        if callable(own):
            made: TokenDenoiser = own(process)
            return made
        return TokenNetwork(self.module, process)


@dataclass(frozen=True, eq=False)
class TokenPrior(Prior):
    """Experts on tokens and what is needed to use them.

    Args:
        denoiser: All experts together; made by ``of``.
        codec: Data in physical units to tokens and back.
        shape: Shape of one x; ``None`` where any size is allowed.
        plugin: Name of the plugin it belongs to.
        backbone: Names of the experts, joined by "+".
        options: Not used; every expert has its own.
        card: Provenance: data, licence, steps, seed, scores.
        experts: The members.
    """

    denoiser: TokenDenoiser  # type: ignore[assignment]
    codec: Any = None
    experts: tuple[Expert, ...] = ()

    @classmethod
    def of(
        cls,
        experts: Sequence[Expert],
        process: Categorical,
        codec: Any,
        *,
        plugin: str,
        shape: tuple[int | None, ...] = (None,),
        card: Mapping[str, Any] | None = None,
    ) -> TokenPrior:
        """A prior of these experts.

        Raises:
            InvalidOptionError: If there are no experts, or their codec makes other tokens.
        """
        if not experts:
            raise InvalidOptionError("a prior", "no expert", "give at least one")
        if codec.tokens != process.tokens:
            raise InvalidOptionError(
                "a prior", f"a codec of {codec.tokens} tokens, a process of {process.tokens}",
                "use the codec that the weights were trained with",
            )  # fmt: skip
        members = [expert.denoiser(process) for expert in experts]
        weights = tuple(expert.weight for expert in experts)
        alone = len(members) == 1 and weights == (1.0,)
        denoiser = members[0] if alone else ProductOfExperts(tuple(members), weights)
        name = "+".join(expert.backbone for expert in experts)
        return cls(denoiser, codec, shape, plugin, name, {}, card or {}, tuple(experts))

    def __repr__(self) -> str:
        size = sum(v.numel() for e in self.experts for v in e.module.state_dict().values()) / 1e6
        name = self.card.get("name", "unnamed")
        tokens = self.process.tokens
        return f"Prior({self.plugin} {name}, {self.backbone} {tokens} tokens, {size:.2f} M numbers)"

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        """The process of the denoiser."""
        return self.denoiser.process

    @property
    def network(self) -> nn.Module:
        """The expert that can be trained: the last one with parameters, else the last."""
        return self.experts[self.trainable].module

    @property
    def trainable(self) -> int:
        """Number of the expert that ``network`` is."""
        able = [i for i, e in enumerate(self.experts) if any(True for _ in e.module.parameters())]
        return able[-1] if able else len(self.experts) - 1

    @property
    def device(self) -> torch.device:
        tensors = (v for e in self.experts for v in e.module.state_dict().values())
        first = next(tensors, None)
        return torch.device("cpu") if first is None else first.device

    @property
    def classes(self) -> int:
        return 0

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of all experts, named by the expert's number."""
        return {
            f"{index}.{name}": value
            for index, expert in enumerate(self.experts)
            for name, value in expert.module.state_dict().items()
        }

    def save(
        self, folder: str | Path, *, overwrite: bool = False, dtype: torch.dtype = torch.float32
    ) -> Path:
        with files.atomic_folder(folder, overwrite=overwrite) as target:
            learned = {
                f"{index}.{name}"
                for index, expert in enumerate(self.experts)
                for name, p in expert.module.named_parameters()
                if p.dtype == torch.float32
            }
            tensors = {
                name: (v.to(dtype) if name in learned else v).contiguous().cpu()
                for name, v in self.tensors().items()
            }
            save_file(tensors, target / "prior.safetensors")
            text = json.dumps(self.description(), indent=2, ensure_ascii=False)
            (target / "prior.json").write_text(text + "\n", encoding="utf-8")
        return Path(folder)

    def description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": "tokens",
            "plugin": self.plugin,
            "experts": [
                {"backbone": e.backbone, "options": plain(e.options), "weight": e.weight}
                for e in self.experts
            ],
            "shape": list(self.shape),
            "codec": {"name": self.codec.name, **plain(self.codec.to_dict())},
            "process": named(self.process),
            "card": plain(self.card),
        }

    def hash(self) -> str:
        used = {key: value for key, value in self.description().items() if key != "card"}
        digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
        for name, value in sorted(self.tensors().items()):
            digest.update(name.encode())
            plain_value = value.detach().cpu()
            wide = plain_value.float() if plain_value.is_floating_point() else plain_value
            digest.update(wide.numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TokenPrior:
        moved = [
            replace(e, module=copy.deepcopy(e.module).to(device=device, dtype=dtype))
            for e in self.experts
        ]
        return self.with_experts(moved)

    def with_network(
        self, network: nn.Module, *, card: Mapping[str, Any] | None = None
    ) -> TokenPrior:
        changed = list(self.experts)
        changed[self.trainable] = replace(changed[self.trainable], module=network)
        return self.with_experts(changed, card=card)

    def learner(self, network: nn.Module) -> TokenNetwork:  # type: ignore[override]
        """What is trained when this prior is: the trainable expert around ``network``.

        Raises:
            UnsupportedError: If that expert is no network.
        """
        expert = replace(self.experts[self.trainable], module=network)
        found = expert.denoiser(self.process)
        if not isinstance(found, TokenNetwork):
            raise UnsupportedError(
                "training", "an expert that is a network", f"'{expert.backbone}' is none"
            )
        return found

    def refit(self, data: Any) -> tuple[TokenPrior, dict[str, float]] | None:
        """The prior with those experts counted anew that count; ``None`` if there are none.

        Such an expert has ``refit(data)``, which returns a module of its kind, the options that it
        was built with, and scores.

        Raises:
            UnsupportedError: If an expert can neither be trained nor counted.
        """
        made, scores, some = [], {}, False
        for expert in self.experts:
            count = getattr(expert.module, "refit", None)
            if callable(count):
                module, options, found = count(data)
                made.append(replace(expert, module=module, options=options))
                scores.update(found)
                some = True
            elif any(True for _ in expert.module.parameters()):
                made.append(expert)
            else:
                raise UnsupportedError(
                    "fine-tuning", "an expert that learns or counts",
                    f"'{expert.backbone}' does neither",
                )  # fmt: skip
        return (self.with_experts(made), scores) if some else None

    @property
    def learns(self) -> bool:
        """Whether an expert has parameters to train."""
        return any(True for e in self.experts for _ in e.module.parameters())

    def with_experts(
        self, experts: Sequence[Expert], *, card: Mapping[str, Any] | None = None
    ) -> TokenPrior:
        """The same prior of other experts."""
        return TokenPrior.of(
            experts, self.process, self.codec, plugin=self.plugin, shape=self.shape,
            card=self.card if card is None else card,
        )  # fmt: skip

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != len(self.shape):
            raise ShapeError("the data", shape, f"{words(self.shape)}, as this prior models")


def build(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> TokenPrior:
    """The prior that a description and its tensors make."""
    plugin = load_plugin(description["plugin"])
    experts = []
    for index, entry in enumerate(description["experts"]):
        module: nn.Module = plugin.part("backbones", entry["backbone"])(**entry["options"])
        start = f"{index}."
        own = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        module.load_state_dict(
            {
                k: v.float() if v.dtype.itemsize == 2 and v.is_floating_point() else v
                for k, v in own.items()
            }
        )
        finite(module)
        module.eval().requires_grad_(False)
        experts.append(Expert(entry["backbone"], module, entry["options"], entry["weight"]))
    codec = plugin.part("codecs", description["codec"]["name"])(description["codec"])
    return TokenPrior.of(
        experts, categorical_from(description["process"]), codec,
        plugin=description["plugin"], shape=tuple(description["shape"]),
        card=description["card"],
    )  # fmt: skip
