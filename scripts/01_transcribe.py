"""01 - Speech to text for clips without a sentence.

Reads   the corpus' clips that have no sentence, in any part
Writes  work/_shared/transcription/: transcription.csv (name, sentence, reason where there is none)
Run     .venv/bin/python scripts/01_transcribe.py track1-mandarin --corpus.root DIR --speech.language zh
"""

from meiju import pipeline
from meiju.cli import main

if __name__ == "__main__":
    main(pipeline.transcribe, __doc__)
