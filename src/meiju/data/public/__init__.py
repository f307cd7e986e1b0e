"""Public corpora, each brought from its owners' files to the official layout by scripts/prepare_corpus.py.

To add one, write a module with a function `read(source, settings)` that returns a `layout.Prepared`, a table with one
row per clip, and with a `CORPUS` that says what the corpus is; then add it to the table below, to docs/corpora.md, and
test it on a tiny copy of the owners' files. All that corpora have in common (drawing parts, linking clips, writing and
counting) is in `layout`. ravdess.py is the shortest example of clips, cped.py of a table.
"""

from meiju.data.public import cped, iemocap, mc_eiu, meld, ravdess
from meiju.data.public.layout import PublicCorpus

CORPORA: dict[str, PublicCorpus] = {
    "ravdess": ravdess.CORPUS,
    "meld": meld.CORPUS,
    "cped": cped.CORPUS,
    "iemocap": iemocap.CORPUS,
    "mc-eiu": mc_eiu.CORPUS,
}
