"""How texts are damaged, and what is known of them all the same."""

from sfumato_text.operators.constrain import Constrain
from sfumato_text.operators.denoise_ocr import DenoiseOCR
from sfumato_text.operators.fill import Fill
from sfumato_text.operators.respell import Respell
from sfumato_text.operators.restore import Restore

__all__ = ["Constrain", "DenoiseOCR", "Fill", "Respell", "Restore"]
