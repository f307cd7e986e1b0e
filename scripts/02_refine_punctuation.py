"""02 - Restore punctuation in unpunctuated transcripts.

Reads   the corpus' transcripts, work/_shared/transcription/ where some have none, and --punctuation-texts
Writes  work/<run>/transcripts/: transcripts.csv (name, sentence), punctuation.csv (scores on held-out sentences)
Run     .venv/bin/python scripts/02_refine_punctuation.py sample --punctuation-texts dialogue.txt
"""

from meiju import pipeline
from meiju.cli import main

if __name__ == "__main__":
    main(pipeline.refine_transcripts, __doc__)
