"""The few backbones that are ours."""

from sfumato.networks.levels import LevelNet, level_loss
from sfumato.networks.unet import UNet

__all__ = ["LevelNet", "UNet", "level_loss"]
