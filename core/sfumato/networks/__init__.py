"""The few backbones that are ours."""

from sfumato.networks.unet import UNet

__all__ = ["UNet"]
