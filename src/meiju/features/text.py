"""Embedded text encoder: tf-idf and SVD of a transcript."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from meiju.config import ConfigError
from meiju.features.base import Clip, Encoded, Encoder, NoFrames

BEGIN, END = "\x02", "\x03"  # they mark the beginning and end of a sentence in n-grams

# First words of the Unicode names of scripts without spaces between words.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
CHARACTERS, WORDS = "characters", "words"
WORD = re.compile(r"[\w']+|[^\w\s]")  # or a punctuation mark, BEGIN or END
WORD_NGRAMS = (1, 2)


class TfidfSvd(Encoder):
    """Character n-grams, reduced by SVD (latent semantic analysis, Deerwester et al. 1990).

    They are weighted by the logarithm of their frequency in the sentence; not by their rarity, as the common ones tell
    a question from a statement. One frame per sentence, of norm 1. It needs no word segmentation, so it works for any
    language. If most letters are of a script with spaces between words, words and pairs of words are used too, with
    the same total weight.
    """

    source = "sentence"

    def __init__(self, *, dim: int, ngrams: tuple[int, int]):
        self.wanted_dim, self.ngrams = dim, tuple(ngrams)
        self.vocabularies: dict[str, dict[str, int]] = {}  # by kind, the number of every n-gram
        self.components = None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        # These imports take a second; encoding and finished steps need none of them.
        from scipy import sparse
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        sentences = [clip.sentence for clip in clips if clip.sentence.strip()]
        if len(sentences) < 2:
            raise ConfigError("--streams: tfidf-svd needs sentences, and the training part has none")
        options = {"min_df": 2 if len(sentences) >= 100 else 1, "use_idf": False, "sublinear_tf": True}
        self.vocabularies = {}
        marked, weights = [_marked(sentence) for sentence in sentences], []
        for kind in [CHARACTERS, WORDS] if _is_spaced(sentences) else [CHARACTERS]:
            vectorizer = TfidfVectorizer(analyzer=partial(self._ngrams, kind), dtype=np.float32, **options)
            weights.append(vectorizer.fit_transform(marked))
            self.vocabularies[kind] = {ngram: int(k) for ngram, k in vectorizer.vocabulary_.items()}
        weights = sparse.hstack(weights, format="csr")
        with threadpool_limits(1):  # the last digits of a sum depend on the number of threads
            svd = TruncatedSVD(min(self.wanted_dim, min(weights.shape) - 1), random_state=seed).fit(weights)
        # [dim, n-grams of all kinds]; a sentence needs few of its columns, so each lies in one piece.
        self.components = np.asfortranarray(svd.components_, dtype=np.float32)
        self.dim = len(self.components)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [self._frames(clip.sentence) if clip.sentence.strip() else NoFrames("no sentence") for clip in clips]

    def _frames(self, sentence: str) -> np.ndarray:
        """[1, dim] float32, as scikit-learn's TfidfVectorizer and TruncatedSVD would give it."""
        frame, start = np.zeros(self.dim, np.float32), 0
        for kind, vocabulary in self.vocabularies.items():
            ngrams = self._ngrams(kind, _marked(sentence))
            counts = Counter(vocabulary[ngram] for ngram in ngrams if ngram in vocabulary)
            columns = start + np.array(list(counts), dtype=int)
            weights = 1 + np.log(list(counts.values()))
            weights /= max(np.linalg.norm(weights), 1e-6)
            # Not a matrix product: the last digits of one depend on the number of threads.
            frame += (self.components[:, columns] * weights).sum(axis=1)
            start += len(vocabulary)
        return frame[None] / max(np.linalg.norm(frame), 1e-6)

    def save(self, folder: Path) -> None:
        (folder / "vocabulary.json").write_text(json.dumps(self.vocabularies, ensure_ascii=False), encoding="utf-8")
        np.savez(folder / "tfidf_svd.npz", components=self.components)

    def load(self, folder: Path) -> None:
        self.vocabularies = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        with (folder / "tfidf_svd.npz").open("rb") as file, np.load(file) as arrays:
            self.components = arrays["components"]
        self.dim = len(self.components)

    def fingerprint(self) -> dict:
        settings = {"dim": self.wanted_dim, "ngrams": list(self.ngrams), "words": list(WORD_NGRAMS)}
        return {"encoder": "tfidf-svd", **settings, "scikit-learn": version("scikit-learn")}

    def _ngrams(self, kind: str, sentence: str) -> Iterator[str]:
        """Every n-gram of a marked sentence: of its characters, or of its words and punctuation marks."""
        sentence = sentence.lower()
        items = WORD.findall(sentence) if kind == WORDS else re.sub(r"\s\s+", " ", sentence)
        shortest, longest = WORD_NGRAMS if kind == WORDS else self.ngrams
        for n in range(shortest, longest + 1):
            for k in range(len(items) - n + 1):
                yield " ".join(items[k : k + n]) if kind == WORDS else items[k : k + n]


def _marked(sentence: str) -> str:
    return f"{BEGIN}{sentence.strip()}{END}"


def _is_spaced(sentences: Sequence[str]) -> bool:
    """Whether most letters are of scripts that put spaces between words."""
    letters = Counter(c for sentence in sentences for c in sentence if c.isalpha())
    unspaced = sum(n for c, n in letters.items() if unicodedata.name(c, "").startswith(UNSPACED))
    return 2 * unspaced < letters.total()
