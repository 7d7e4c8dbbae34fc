"""Whether samples are right: distances, calibration, posteriors that are known, and the report."""
