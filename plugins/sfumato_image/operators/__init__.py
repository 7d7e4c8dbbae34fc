"""The image operators, one module each."""

from sfumato_image.operators.colorize import Colorize
from sfumato_image.operators.deblur import Deblur
from sfumato_image.operators.declip import Declip
from sfumato_image.operators.dejpeg import DeJPEG
from sfumato_image.operators.denoise import Denoise
from sfumato_image.operators.inpaint import Inpaint
from sfumato_image.operators.super_resolve import SuperResolve

__all__ = ["Colorize", "DeJPEG", "Deblur", "Declip", "Denoise", "Inpaint", "SuperResolve"]
