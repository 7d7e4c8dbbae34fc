"""Texts: files, tokenisers, channels, metrics."""
