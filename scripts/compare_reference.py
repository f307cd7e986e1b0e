"""Compare the sample's result with the reference that lies in the repository; differences are told, and no failure.

Reads   submissions/sample/: submission.csv, scores.csv; submissions/sample/reference/: the same two files
Writes  nothing
Run     .venv/bin/python scripts/compare_reference.py
"""

from meiju.config import PRESETS
from meiju.submission import compare_with_reference

if __name__ == "__main__":
    folder = PRESETS["sample"][1].submission_dir
    print(f"sample: {compare_with_reference(folder, folder / 'reference')}")
