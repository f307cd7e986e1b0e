"""The network of a member: layers, fusions, logistic regression, weights of streams. A new fusion: fusion.py."""
