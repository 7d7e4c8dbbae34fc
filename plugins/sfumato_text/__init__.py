"""Texts: damaged, misread or to be written; files, operators, priors, metrics."""

from sfumato.plugin import Plugin

__all__ = ["PLUGIN"]

PLUGIN = Plugin(
    name="text",
    summary="texts: fill gaps, correct noise and misreadings, write under constraints",
    install="'sfumato[text]'",
    requires=("rapidfuzz", "lxml"),
    formats={
        "txt": "sfumato_text.formats:Text",
        "lines": "sfumato_text.formats:Lines",
        "table": "sfumato_text.formats:Table",
        "xml": "sfumato_text.formats:XML",
        "hocr": "sfumato_text.formats:HOCR",
        "gzip": "sfumato_text.formats:Gzip",
    },
    operators={
        "fill": "sfumato_text.operators:Fill",
        "restore": "sfumato_text.operators:Restore",
        "constrain": "sfumato_text.operators:Constrain",
        "denoise-ocr": "sfumato_text.operators:DenoiseOCR",
    },
    codecs={
        "characters": "sfumato_text.tokenisers:Characters",
    },
    demo="sfumato_text.demo:run",
    words="sfumato_text.passages:words",
    passages="sfumato_text.passages:passages",
)
