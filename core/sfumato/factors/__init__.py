"""Weights of whole sequences: patterns, keywords, lengths, channels."""

from sfumato.factors.automata import Automaton, Deterministic, Edged, Edges
from sfumato.factors.base import Arcs, Machine
from sfumato.factors.channels import EditChannel, Memoryless
from sfumato.factors.counts import counts, length
from sfumato.factors.edits import Edits
from sfumato.factors.gaps import Gap, gaps
from sfumato.factors.languages import count, is_empty, lengths, require
from sfumato.factors.messages import Tilted, best, log_partition, marginals, sample, weigh
from sfumato.factors.patterns import ends, keyword, pattern, starts
from sfumato.factors.products import product
from sfumato.factors.unrolled import Unrolled, unroll

__all__ = [
    "Arcs",
    "Automaton",
    "Deterministic",
    "Edged",
    "Edges",
    "EditChannel",
    "Edits",
    "Gap",
    "Machine",
    "Memoryless",
    "Tilted",
    "Unrolled",
    "best",
    "count",
    "counts",
    "ends",
    "gaps",
    "is_empty",
    "keyword",
    "length",
    "lengths",
    "log_partition",
    "marginals",
    "pattern",
    "product",
    "require",
    "sample",
    "starts",
    "unroll",
    "weigh",
]
