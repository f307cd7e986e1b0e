"""Score a submission against a table of true labels: E, I, JRBM with 95 % intervals, and each class.

TRUTH is a csv file with a column of clips' names (FileName, filename or name) and with emotion and intent; a column
`part` tells the clips of the test part from others, a column `speaker` or `dialogue` what intervals are over.

Reads   a submission.zip or submission.csv, and TRUTH
Writes  nothing
Run     .venv/bin/python scripts/score.py submissions/sample/submission.zip truth.csv --beside other/submission.csv
Run     .venv/bin/python scripts/score.py submission.csv truth.csv --pseudo work/sample/pseudo/*/pseudo_labels.csv
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from meiju.cli import help_text, plain_end
from meiju.evaluation import scoring


@dataclass(frozen=True)
class Arguments:
    """What is scored, and against what."""

    submission: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSION")]
    """A submission.zip or submission.csv."""
    truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRUTH")]
    """A csv file of names, emotions and intents."""
    beside: Path | None = None
    """A second submission for the same clips: its scores, and the difference with its interval."""
    pseudo: Path | None = None
    """pseudo_labels.csv of a run (step 06): how many of its accepted labels are right, where TRUTH has the pool's."""


def score(arguments: Arguments) -> None:
    paths = [path for path in (arguments.submission, arguments.beside) if path is not None]
    scored = scoring.read(arguments.truth, paths)
    n_clips = len(scored.truth["emotion"])
    print(f"{n_clips} of {len(scored.clips)} clips in {arguments.truth}, 95 % intervals over {scored.units.what}:")
    print(scoring.table(scored).round(4).to_string(index=False))
    print("each class:")
    print(scoring.classes(scored).round(4).to_string(index=False))
    if arguments.pseudo is not None:
        tasks, classes, over = scoring.pool_precision(arguments.pseudo, scored.clips)
        print(f"accepted pseudo-labels, a fold, and the share of them that is right (95 % interval over {over}):")
        print(tasks.round(4).to_string(index=False))
        print(classes.round(4).to_string(index=False))


if __name__ == "__main__":
    with plain_end():
        score(tyro.cli(Arguments, description=help_text(__doc__)))
