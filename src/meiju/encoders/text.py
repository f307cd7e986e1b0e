"""Text encoders: from a transcript to frames."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from meiju.config import ConfigError
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames, require_finite

BEGIN, END = "\x02", "\x03"  # so that n-grams know where a sentence begins and ends


class TfidfSvd(Encoder):
    """Character n-grams, reduced by SVD (latent semantic analysis, Deerwester et al. 1990).

    They are weighted by the logarithm of their frequency in the sentence and, with `idf`, by their rarity. One frame a
    sentence, of length 1. It needs no segmentation into words, so it serves any language.
    """

    source = "sentence"

    def __init__(self, *, dim: int, ngrams: tuple[int, int], idf: bool):
        self.wanted_dim, self.ngrams, self.use_idf = dim, tuple(ngrams), idf
        self.vocabulary: dict[str, int] = {}
        self.idf = self.components = None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        sentences = [clip.sentence for clip in clips if clip.sentence.strip()]
        if len(sentences) < 2:
            raise ConfigError("--streams: tfidf-svd needs sentences, and the training part has none")
        vectorizer = self._vectorizer(min_df=2 if len(sentences) >= 100 else 1, use_idf=self.use_idf)
        counts = vectorizer.fit_transform(map(_marked, sentences))
        svd = TruncatedSVD(min(self.wanted_dim, min(counts.shape) - 1), random_state=seed).fit(counts)
        self.vocabulary = {ngram: int(k) for ngram, k in vectorizer.vocabulary_.items()}
        self.idf = (vectorizer.idf_ if self.use_idf else np.ones(counts.shape[1])).astype(np.float32)
        self.components = svd.components_.astype(np.float32)  # [dim, n-grams]
        self.dim = len(self.components)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        vectorizer = self._vectorizer(vocabulary=self.vocabulary)
        vectorizer.idf_ = self.idf
        weights = vectorizer.transform([_marked(clip.sentence) for clip in clips])  # [clips, n-grams], sparse
        frames = np.asarray(weights @ self.components.T, dtype=np.float32)
        frames /= np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-6)
        return [
            row[None] if clip.sentence.strip() else NoFrames("no sentence")
            for clip, row in zip(clips, frames, strict=True)
        ]

    def save(self, folder: Path) -> None:
        (folder / "vocabulary.json").write_text(json.dumps(self.vocabulary, ensure_ascii=False), encoding="utf-8")
        np.savez(folder / "tfidf_svd.npz", idf=self.idf, components=self.components)

    def load(self, folder: Path) -> None:
        self.vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        with np.load(folder / "tfidf_svd.npz") as arrays:
            self.idf, self.components = arrays["idf"], arrays["components"]
        n = len(self.vocabulary)
        if sorted(self.vocabulary.values()) != list(range(n)):
            raise ValueError("the vocabulary does not number its n-grams")
        require_finite(self.idf, [n])
        require_finite(self.components, [len(self.components), n])
        self.dim = len(self.components)

    def fingerprint(self) -> dict:
        return {
            "encoder": "tfidf-svd",
            "dim": self.wanted_dim,
            "ngrams": list(self.ngrams),
            "idf": self.use_idf,
            "scikit-learn": sklearn.__version__,
        }

    def _vectorizer(self, **options) -> TfidfVectorizer:
        return TfidfVectorizer(analyzer="char", ngram_range=self.ngrams, sublinear_tf=True, dtype=np.float32, **options)


def _marked(sentence: str) -> str:
    return f"{BEGIN}{sentence.strip()}{END}"
