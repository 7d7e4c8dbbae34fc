"""Bounds on the likelihood, and losses that are bounds."""
