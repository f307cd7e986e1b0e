"""Scores with their intervals, calibration, and the average of members."""
