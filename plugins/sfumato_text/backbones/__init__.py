"""Networks that predict hidden tokens."""
