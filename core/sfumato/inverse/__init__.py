"""Inverse problems: operators, likelihoods, guides and solvers."""
