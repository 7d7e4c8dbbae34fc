"""Samplers of tokens."""

from sfumato.samplers.tokens.base import Believe, TokenSampler, run_tokens

__all__ = ["Believe", "TokenSampler", "run_tokens"]
