"""A prior: a trained denoiser with its process, its units and its provenance, as a folder.

    prior.json          what it is: network, parametrisation, process, codec, model card
    prior.safetensors   the weights

Nothing is pickled. A prior is frozen: fine-tuning makes another one.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from sfumato import files, prior_shapes
from sfumato.codecs import Affine
from sfumato.denoisers import Denoiser, Preconditioned
from sfumato.denoisers.adapters import Padded, Tiled
from sfumato.denoisers.equal_channels import EqualChannels
from sfumato.errors import CheckpointError
from sfumato.prior_folders import ARRAYS, FORMAT, denoiser_of, find, plain
from sfumato.processes import Gaussian
from sfumato.processes.storing import arrays, described, identified
from sfumato.registry import load_plugin

__all__ = ["Prior"]


@dataclass(frozen=True, eq=False)
class Prior:
    """A trained denoiser and what is needed to use it.

    Args:
        denoiser: The network with its parametrisation and process; works in model units.
        codec: Physical to model units.
        shape: Shape of one x; ``None`` where any size is allowed.
        plugin: Name of the plugin it belongs to.
        backbone: Name of the network in that plugin.
        options: Options the network was built with.
        card: Provenance: data, licence, steps, seed, scores.
    """

    denoiser: Preconditioned
    codec: Affine = field(default_factory=Affine)
    shape: tuple[int | None, ...] = (None,)
    plugin: str = ""
    backbone: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = prior_shapes.words(self.shape)
        count = sum(p.numel() for p in self.network.parameters()) / 1e6
        schedule = type(self.process.schedule).__name__
        name = self.card.get("name", "unnamed")
        return f"Prior({self.plugin} {name}, {self.backbone} {size}, {schedule}, {count:.2f} M)"

    @property
    def network(self) -> nn.Module:
        """The network inside the denoiser."""
        network = self.denoiser.network
        assert isinstance(network, nn.Module)
        return network

    @property
    def process(self) -> Gaussian:
        """The process of the denoiser."""
        return self.denoiser.process

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.device or torch.device("cpu")

    @property
    def classes(self) -> int:
        """Number of class labels; 0 if it is not conditional."""
        return int(self.options.get("classes", 0) or 0)

    @classmethod
    def new(
        cls,
        plugin: str,
        backbone: str,
        *,
        shape: tuple[int | None, ...],
        process: Gaussian | None = None,
        codec: Affine | None = None,
        prediction: str | None = None,
        spread: float = 0.5,
        head: str = "",
        options: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> Prior:
        """An untrained prior around a plugin's backbone.

        The network's prediction is ``"edm"`` if not given; ``"eps"`` where states are coefficients
        of a basis (``Spectral``), and the score on a manifold (``Riemannian``).

        Raises:
            UnknownNameError: If there is no such plugin or backbone.
        """
        network = load_plugin(plugin).part("backbones", backbone)(**(options or {}))
        process = process or Gaussian()
        kind = denoiser_of(process)
        denoiser = kind(
            network, process, prediction=prediction or kind.prediction, spread=spread, head=head
        )
        return cls(denoiser, codec or Affine(), shape, plugin, backbone, options or {}, card or {})

    @classmethod
    def load(cls, source: str | Path, *, plugin: str | None = None) -> Prior:
        """Loads a shipped prior by name, a folder, or a repository of a model hub.

        Args:
            source: Name of a shipped prior, path of a folder, or ``"owner/name"`` on the hub.
            plugin: Where to look for the name; all plugins if not given.

        Raises:
            UnknownNameError: If it is none of these.
            CheckpointError: If the folder is damaged, or belongs to another plugin.
        """
        from sfumato.prior_reading import read

        folder = find(str(source), plugin)
        prior = read(folder)
        if plugin is not None and prior.plugin != plugin:
            raise CheckpointError(
                folder, f"it is a prior of plugin '{prior.plugin}', not '{plugin}'"
            )
        return prior

    @classmethod
    def from_diffusers(cls, folder: str | Path, *, plugin: str = "image") -> Prior:
        """Converts a diffusers folder (``UNet2DModel`` with a scheduler)."""
        prior: Prior = load_plugin(plugin).part("converters", "diffusers")(folder)
        return prior

    def to_diffusers(self, folder: str | Path) -> Path:
        """Writes a diffusers folder, where the backbone is a diffusers network."""
        path: Path = load_plugin(self.plugin).part("converters", "to_diffusers")(self, folder)
        return path

    def save(
        self, folder: str | Path, *, overwrite: bool = False, dtype: torch.dtype = torch.float32
    ) -> Path:
        """Writes the folder, atomically.

        Args:
            folder: Where to.
            overwrite: Whether an existing, non-empty folder may be replaced.
            dtype: Precision of the stored weights; loading returns to float32.

        Raises:
            OutputExistsError: If the folder is in use.
        """
        with files.atomic_folder(folder, overwrite=overwrite) as target:
            weights = {
                name: value.to(dtype) if value.is_floating_point() else value
                for name, value in self.network.state_dict().items()
            } | {ARRAYS + name: value for name, value in arrays(self.process).items()}
            whole = {name: value.contiguous().cpu() for name, value in weights.items()}
            save_file(whole, target / "prior.safetensors")
            text = json.dumps(self.description(), indent=2, ensure_ascii=False)
            (target / "prior.json").write_text(text + "\n", encoding="utf-8")
        return Path(folder)

    def description(self) -> dict[str, Any]:
        """Everything but the weights, as JSON values.

        Raises:
            UnsupportedError: If the process has a part that no folder holds.
        """
        return self.with_process(described(self.process))

    def with_process(self, process: dict[str, Any]) -> dict[str, Any]:
        """The description, given that of the process."""
        return {
            "format": FORMAT,
            "plugin": self.plugin,
            "backbone": self.backbone,
            "options": plain(self.options),
            "shape": list(self.shape),
            "codec": asdict(self.codec),
            "process": process,
            "denoiser": {
                "prediction": self.denoiser.prediction,
                "spread": self.denoiser.spread,
                "noise_label": self.denoiser.noise_label,
                "head": self.denoiser.head,
                "range": self.denoiser.range,
            }
            | ({"mirrors": list(self.denoiser.mirrors)} if self.denoiser.mirrors else {}),
            "card": plain(self.card),
        }

    def hash(self) -> str:
        """Sixteen hexadecimal digits that name the weights and how they are used.

        The model card is left out: a score that is added to it does not make another prior.
        """
        whole = self.with_process(identified(self.process))
        used = {key: value for key, value in whole.items() if key != "card"}
        digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
        process = {ARRAYS + name: value for name, value in arrays(self.process).items()}
        for name, value in sorted((self.network.state_dict() | process).items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Prior:
        """A copy with the network elsewhere or in another precision."""
        network = copy.deepcopy(self.network).to(device=device, dtype=dtype)
        return self.with_network(network)

    def with_network(self, network: nn.Module, *, card: Mapping[str, Any] | None = None) -> Prior:
        """The same prior around other weights."""
        denoiser = replace(self.denoiser, network=network)
        return replace(self, denoiser=denoiser, card=self.card if card is None else card)

    def mirrored(self, axes: tuple[int, ...]) -> Prior:
        """The same prior for data that are as likely mirrored along ``axes`` (``Preconditioned``).

        Raises:
            InvalidOptionError: If there are no such axes.
        """
        return replace(self, denoiser=replace(self.denoiser, mirrors=axes))

    def learner(self, network: nn.Module) -> Preconditioned:
        """What is trained when this prior is: its denoiser around ``network``."""
        return replace(self.denoiser, network=network)

    @property
    def learns(self) -> bool:
        """Whether there is something to train."""
        return True

    def refit(self, data: Any) -> tuple[Prior, dict[str, float]] | None:
        """The prior made anew where it is counted, not trained, with scores; ``None`` if nowhere.

        Args:
            data: What to learn from; see ``sfumato.training.feeds``.
        """
        return None

    def sized(self, shape: tuple[int, ...], *, tile: int = 768, overlap: int = 64) -> Denoiser:
        """The denoiser for one x of ``shape``: padded to the network's multiple, and tiled.

        Data of one channel may stand for all channels of the prior, where its plugin allows it.

        Args:
            shape: Of one x, without batch axis.
            tile: Longest side that is evaluated in one piece.
            overlap: Of neighbouring tiles.

        Raises:
            ShapeError: If the prior cannot model this shape.
        """
        if channels := self.stands_for(shape):
            whole = self.sized((channels, *shape[1:]), tile=tile, overlap=overlap)
            return EqualChannels(whole, channels)
        self.check(shape)
        if not self.process.flat:
            return self.denoiser
        denoiser: Denoiser = self.denoiser
        multiple = int(getattr(self.network, "multiple", 1))
        if max(shape[1:], default=0) > tile and None in self.shape:
            denoiser = Tiled(denoiser, tile, overlap)
        # padding comes before tiling, so that all tiles lie on the network's grid of blocks
        if multiple > 1 and any(n % multiple for n in shape[1:]):
            denoiser = Padded(denoiser, multiple)
        return denoiser

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ``ShapeError`` if x of ``shape`` is not what the network itself models."""
        prior_shapes.check(shape, self.shape)

    def stands_for(self, shape: tuple[int, ...]) -> int:
        """For how many equal channels of this prior the one of x stands; 0 if it does not."""
        return prior_shapes.stands_for(shape, self.shape, self.codec, self.plugin)
