"""Public corpora, each brought from its owners' files into the official layout by scripts/prepare_corpus.py.

To add one, write a module with a function `read(source, published)` that returns a `preparing.Prepared`, a table with
one row per clip, and with a `CORPUS` that says what it is and whose it is. Then add it to the table below and to
docs/corpora.md, and test it on a tiny copy of the owners' files. What all corpora share is in `sources` (finding and
reading files), `parts` (drawing) and `preparing` (linking, writing, counting). cped.py is the shortest example.
"""

from meiju.data.public import cped, iemocap, mc_eiu, meld, ravdess
from meiju.data.public.preparing import PublicCorpus

CORPORA: dict[str, PublicCorpus] = {
    "ravdess": ravdess.CORPUS,
    "meld": meld.CORPUS,
    "cped": cped.CORPUS,
    "iemocap": iemocap.CORPUS,
    "mc-eiu": mc_eiu.CORPUS,
}
