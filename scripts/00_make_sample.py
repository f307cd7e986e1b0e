"""00 - Write the embedded sample corpus: made-up clips, so that everything can be tried without the challenge's data.

Reads   nothing
Writes  the folder --corpus.root, in the official layout (work/sample-corpus by default)
Run     .venv/bin/python scripts/00_make_sample.py sample
"""

from meiju.cli import main
from meiju.config import ConfigError
from meiju.sample import corpus as sample_corpus


def make_sample(run):
    config = run.config
    if config.corpus.root is None:
        raise ConfigError("--corpus.root: name the folder that the sample corpus is to be written to")
    n_drawn = sample_corpus.make_sample(config.corpus.root, seed=config.seed, n_jobs=config.n_jobs)
    print(f"sample: {f'drew {n_drawn} clips' if n_drawn else 'done before with this seed'}, see {config.corpus.root}")


if __name__ == "__main__":
    main(make_sample, __doc__)
