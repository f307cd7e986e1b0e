"""Check any submission file against a corpus: every test clip once, no others, known labels, the right form.

Reads   a submission.zip or submission.csv, and the corpus' tables
Writes  nothing
Run     .venv/bin/python scripts/check_submission.py submission.zip track1-mandarin --corpus.root /data/Track1/Mandarin
"""

import sys
from pathlib import Path

from meiju.cli import asks_for_help, help_text, main, show_help
from meiju.data import submission
from meiju.data.corpus import read_corpus


def check_submission(run):
    # Neither clips nor encoders are needed for it.
    corpus = read_corpus(run.config.corpus, needs_media=False)
    testing, labels = corpus.part("testing"), corpus.labels
    problems = submission.check(path, names=list(testing.name), emotions=labels.emotion, intents=labels.intent)
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{path}: valid, {len(testing)} clips")


if __name__ == "__main__":
    if asks_for_help(sys.argv):
        show_help("check_submission.py FILE", help_text(__doc__), sys.argv)
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit("error: the first argument is the submission to check, the second a preset")
    path = Path(sys.argv.pop(1))
    main(check_submission, __doc__)
