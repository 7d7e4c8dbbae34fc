"""The few backbones that are ours."""

from sfumato.networks.dequantisers import Dequantiser
from sfumato.networks.levels import LevelNet, level_loss
from sfumato.networks.unet import UNet

__all__ = ["Dequantiser", "LevelNet", "UNet", "level_loss"]
