"""The embedded, made-up sample corpus: what its clips say and show, and how they are drawn."""
