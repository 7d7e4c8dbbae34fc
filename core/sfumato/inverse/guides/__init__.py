"""Guides: approximations of the posterior's denoiser. One file each."""

from sfumato.inverse.guides.ddnm import DDNM
from sfumato.inverse.guides.dds import DDS
from sfumato.inverse.guides.diagonal import Diagonal
from sfumato.inverse.guides.diffpir import DiffPIR
from sfumato.inverse.guides.dps import DPS
from sfumato.inverse.guides.moment import MMPS
from sfumato.inverse.guides.pigdm import PiGDM
from sfumato.inverse.guides.tmpd import TMPD

__all__ = ["DDNM", "DDS", "DPS", "MMPS", "TMPD", "Diagonal", "DiffPIR", "PiGDM"]
