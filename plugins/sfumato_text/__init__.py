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
        "respell": "sfumato_text.operators:Respell",
        "constrain": "sfumato_text.operators:Constrain",
        "denoise-ocr": "sfumato_text.operators:DenoiseOCR",
    },
    backbones={
        "counts": "sfumato_text.backbones.counts:Counts",
        "towers": "sfumato_text.backbones.towers:Towers",
        "bert": "sfumato_text.backbones.masked_lms:Bert",
        "modernbert": "sfumato_text.backbones.masked_lms:ModernBert",
        "eurobert": "sfumato_text.backbones.masked_lms:EuroBert",
        "masked-lm": "sfumato_text.backbones.masked_lms:MaskedLM",
        "bidirectional-llama": "sfumato_text.backbones.llama:BidirectionalLlama",
        "dit": "sfumato_text.backbones.dit:DiT",
    },
    datasets={
        "texts": "sfumato_text.datasets:Texts",
    },
    metrics={
        "cer": "sfumato_text.metrics:cer",
        "wer": "sfumato_text.metrics:wer",
        "characters": "sfumato_text.metrics:characters",
        "exact": "sfumato_text.metrics:exact",
    },
    converters={
        "masked-lm": "sfumato_text.converters:masked_lm",
    },
    priors={"kjv": "sfumato_text:weights/kjv"},
    codecs={
        "characters": "sfumato_text.tokenisers:from_dict",
        "bytes": "sfumato_text.tokenisers:from_dict",
        "subwords": "sfumato_text.tokenisers:from_dict",
        "pretrained": "sfumato_text.tokenisers:from_dict",
    },
    demo="sfumato_text.demo:run",
    words="sfumato_text.passages:words",
    passages="sfumato_text.passages:passages",
)
