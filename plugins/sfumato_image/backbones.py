"""Networks of the diffusers library with the signature of ours."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from sfumato.errors import CheckpointError, InvalidOptionError, MissingDependencyError
from sfumato.plugin import is_installed

__all__ = ["DiffusersUNet2D", "diffusers"]


class DiffusersUNet2D(nn.Module):
    """A ``UNet2DModel`` with the signature of our networks.

    Args:
        config: Its configuration, as in ``unet/config.json``.
        classes: Number of class labels; 0 for an unconditional network.

    Raises:
        MissingDependencyError: If diffusers is not installed.
        CheckpointError: If the configuration is not one of a ``UNet2DModel``.
    """

    def __init__(self, *, config: Mapping[str, Any], classes: int = 0) -> None:
        super().__init__()
        try:
            self.unet: nn.Module = diffusers().UNet2DModel.from_config(dict(config))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise CheckpointError("unet/config.json", f"it is damaged ({error})") from error
        self.classes = classes
        self.multiple = 2 ** (len(self.unet.config.block_out_channels) - 1)
        self.counts = self.unet.config.time_embedding_type == "learned"

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        noise_level: Float[Tensor, " batch"],
        *,
        label: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch outputs height width"]:
        """The network's output.

        Args:
            x: Noisy pictures in model units; sides multiples of ``self.multiple``.
            noise_level: Step of the table, one per item.
            label: Class of each item; required by, and only by, class-conditional networks.

        Raises:
            InvalidOptionError: If a label is missing, or given to an unconditional network.
        """
        if (label is not None) != (self.classes > 0):
            found = "has classes and got no label" if label is None else "has no classes"
            fix = f"give labels from 0 to {self.classes - 1}" if self.classes else "leave them out"
            raise InvalidOptionError("label", f"this network {found}", fix)
        step = noise_level.round().long() if self.counts else noise_level
        output: Tensor = self.unet(x, step, class_labels=label, return_dict=False)[0]
        return output


def diffusers() -> ModuleType:
    """The library, imported when it is needed."""
    if not is_installed("diffusers"):
        raise MissingDependencyError("a diffusers network", ["diffusers"], "'sfumato[image]'")
    import diffusers as library

    module: ModuleType = library
    return module
