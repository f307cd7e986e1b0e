"""The report of a run: one HTML page with its tables and figures."""

import logging

# Where there is no home to write to, matplotlib keeps its fonts in a temporary folder, and would say so in two lines.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
