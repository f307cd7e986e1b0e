"""Public corpora, each brought from its owners' files into the official layout by scripts/prepare_corpus.py.

To add one, write a module that says WHAT it is, its LICENCE, its SOURCE and what it NEEDS, with a function
`read(source, published)`: of the folder with the owners' files, and whether parts are to be those of published work, it
returns a `preparing.Prepared`, a table with one row per clip. Then add it to the table below and to docs/corpora.md,
and test it on a tiny copy of the owners' files. What all corpora share is in `sources` (finding and reading files) and
`preparing` (drawing, linking, writing, counting). cped.py is the shortest example.
"""

from meiju.data.public import cped, iemocap, mc_eiu, meld, ravdess

CORPORA = {"ravdess": ravdess, "meld": meld, "cped": cped, "iemocap": iemocap, "mc-eiu": mc_eiu}
