"""Gates of pseudo-labels, and which models may label which fold. A new gate: `fit_gate` in teachers.py."""
