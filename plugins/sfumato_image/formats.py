"""Picture files: PNG, JPEG, TIFF and WebP.

Each format reads a file to a ``Signal`` and writes a ``Signal`` back as the same kind of file.
``data`` is float32 ``[channels, height, width]`` with 1 (grey) or 3 (RGB) channels, upright: the
EXIF orientation is applied on reading, and the tag says "upright" on writing. Integers become
[0, 1]; floating-point TIFFs keep their values. Palettes become RGB, one-bit pictures grey. CMYK,
Lab, multi-page and animated files are refused with a hint what to do.

``meta`` holds what the file needs to be written again:

    format       "PNG", "JPEG", "TIFF" or "WebP"
    dtype        of the stored numbers: "uint8", "uint16", "float16", "float32" or "float64"
    scale        stored number = scale · data
    alpha        opacity in [0, 1], ``[1, height, width]``, or None; it may serve as the mask
    orientation  1 to 8, as it was in the file
    icc, exif    colour profile and EXIF block (TIFF structure, orientation 1) as bytes, or None
    dpi          (horizontal, vertical) dots per inch, or None
    jpeg         for JPEG: ``tables`` (a quantisation table of 64 numbers, row by row, for each
                 component), ``sampling`` (horizontal and vertical factor of each component),
                 ``progressive``; the coded blocks are those of the file, before ``orientation``
    chunks, tags, compression, extra, lossless
                 what else PNG, TIFF and WebP carry
"""

from sfumato_image.files.jpeg import JPEG
from sfumato_image.files.png import PNG
from sfumato_image.files.tiff import TIFF
from sfumato_image.files.webp import WebP

__all__ = ["FORMATS", "JPEG", "PNG", "TIFF", "WebP"]

FORMATS = (PNG, JPEG, TIFF, WebP)
