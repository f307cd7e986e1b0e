"""Bring a public corpus from its owners' files into the official layout, so that the numbered scripts can run on it.

Reads   the folder SOURCE, with the corpus' archives or what is extracted from them
Writes  DIR: the tables, the clips (hard links, or copies where the disk cannot link), README.md; and
        DIR-truth.csv: the labels of Testing and of unlabelled clips, which stay outside
Run     .venv/bin/python scripts/prepare_corpus.py ravdess ~/Downloads/ravdess --out work/corpora/ravdess
        ./scripts/run_all.sh custom --run ravdess --corpus.root work/corpora/ravdess
"""

import argparse
from pathlib import Path

from meiju.cli import plain_end
from meiju.data.public import CORPORA
from meiju.data.public.preparing import prepare


def parse() -> argparse.Namespace:
    about = "  {}: {}\n    licence  {}\n    source   {}\n    SOURCE   {}"
    known = [about.format(name, c.WHAT, c.LICENCE, c.SOURCE, c.NEEDS) for name, c in CORPORA.items()]
    parser = argparse.ArgumentParser(
        description="\n".join([__doc__, "corpora:", *known]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", choices=CORPORA, metavar="CORPUS")
    parser.add_argument("source", type=Path, metavar="SOURCE")
    out = "folder to write, new or of an earlier call"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    parser.add_argument("--truth", type=Path, metavar="FILE", help="where the labels go (DIR-truth.csv)")
    parser.add_argument("--labelled", type=int, metavar="N", help="draw N labelled clips; all others become the pool")
    mix = "of emotions in that draw (balanced)"
    parser.add_argument("--mix", choices=("balanced", "natural"), default="balanced", help=mix)
    parser.add_argument("--seed", type=int, default=0, help="of that draw (0)")
    published = "parts as in published work (ravdess, meld; the others have them)"
    parser.add_argument("--published", action="store_true", help=published)
    return parser.parse_args()


def main():
    given = parse()
    out = given.out.expanduser()
    truth = given.truth or out.with_name(f"{out.name}-truth.csv")
    with plain_end():
        how = {"labelled": given.labelled, "mix": given.mix, "seed": given.seed, "published": given.published}
        print(prepare(given.corpus, CORPORA[given.corpus], given.source.expanduser(), out, truth, **how))
        print(f"written: {out}, {truth}")


if __name__ == "__main__":
    main()
