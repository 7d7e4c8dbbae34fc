"""Weights of whole sequences: patterns, keywords, lengths, channels."""

from sfumato.factors.base import Arcs, Machine
from sfumato.factors.messages import weigh

__all__ = ["Arcs", "Machine", "weigh"]
