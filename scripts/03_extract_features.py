"""03 - Encode every clip into frames; each stream has its own store.

Reads   the corpus' clips, work/<run>/transcripts/
Writes  work/_shared/features/<stream>-<fingerprint>/: frames.npy, index.csv, meta.json
Run     .venv/bin/python scripts/03_extract_features.py sample --streams text=tfidf-svd audio=npy:/data/hubert.zip
"""

from meiju import pipeline
from meiju.cli import main

if __name__ == "__main__":
    main(pipeline.extract_features, __doc__)
