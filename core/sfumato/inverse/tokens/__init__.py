"""Posteriors over tokens."""
