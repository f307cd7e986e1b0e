"""The report of a run: one HTML page with its tables and figures."""
