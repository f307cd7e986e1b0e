"""Token features of pretrained language models, and sentence embeddings of those that were made for them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from meiju.config import ConfigError, TextConfig
from meiju.features.base import Clip, Encoded, NoFrames, batches, noted_if_cut
from meiju.features.pretrained import Pretrained
from meiju.utils import hub

MAX_TOKENS = 512  # of a sentence; the rest is cut off


class PretrainedText(Pretrained):
    """One frame per token, special tokens included; of a sentence encoder, one frame per sentence.

    For masked models (BERT, RoBERTa, MacBERT) and decoder-only ones. A sentence encoder (Sentence-BERT, Reimers and
    Gurevych 2019) is known by its files: its embedding is pooled from the last layer, or `layer`, as these files say,
    and scaled to length 1. prefix: put before each sentence.
    """

    source = "sentence"
    chunk = 256

    def __init__(self, model: str, config: TextConfig, device: torch.device):
        super().__init__(model, layer=config.layer, max_frames=config.max_frames, device=device)
        self.prefix, self.batch_tokens = config.prefix, config.batch_tokens
        self.pooling = sentence_pooling(Path(self.place))
        if self.pooling and self.layer is None:
            self.layer = -1
        self.dim = self.settings.hidden_size
        self.tokenizer = hub.load_tokenizer(self.place, padding_side="right")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token or self.tokenizer.unk_token
        if self.tokenizer.pad_token is None:
            raise ConfigError(f"--streams: the tokenizer of {self.place} has no token to pad with")
        # Two positions fewer, because RoBERTa counts them from its padding token on.
        positions = getattr(self.settings, "max_position_embeddings", MAX_TOKENS + 2) - 2
        self.most_tokens = min(self.tokenizer.model_max_length, MAX_TOKENS, positions)

    def fingerprint(self) -> dict:
        return super().fingerprint() | {"modality": "text", "prefix": self.prefix, "pooling": self.pooling}

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        sentences = {k: self.prefix + clip.sentence.strip() for k, clip in enumerate(clips) if clip.sentence.strip()}
        options = {"truncation": True, "max_length": self.most_tokens}
        tokens = {k: self.tokenizer(sentence, **options)["input_ids"] for k, sentence in sentences.items()}
        # There are none of an invisible character, for example, where no token marks the beginning.
        why = ("no sentence", "the model has no token for anything in the sentence")
        encoded: Encoded = [NoFrames(why[k in tokens]) for k in range(len(clips))]
        readable = [k for k, ids in tokens.items() if ids]
        for batch in batches([len(tokens[k]) for k in readable], self.batch_tokens):
            numbers = [readable[b] for b in batch]
            for k, frames in zip(numbers, self._frames([tokens[k] for k in numbers]), strict=True):
                encoded[k] = noted_if_cut(frames, len(tokens[k]), self.most_tokens)
        return encoded

    @torch.inference_mode()
    def _frames(self, tokens: list[list[int]]) -> list[np.ndarray]:
        padded = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        hidden = self.hidden(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
        each = [h[: len(ids)].float() for h, ids in zip(hidden, tokens, strict=True)]
        if self.pooling:
            vectors = [h.mean(dim=0) if self.pooling == "mean" else h[0] for h in each]
            each = [torch.nn.functional.normalize(vector, dim=0)[None] for vector in vectors]
        return [self.pool(h).cpu().numpy() for h in each]


def sentence_pooling(place: Path) -> str | None:
    """How a sentence encoder pools its tokens, 'mean' or 'cls' (else ConfigError); None for any other model."""
    path = place / hub.POOLING
    if not path.is_file():
        return None
    try:
        modes = [key for key, on in json.loads(path.read_text(encoding="utf-8")).items() if on is True]
    except (ValueError, AttributeError):
        raise hub.MissingModel(f"{path} is no JSON object; fetch the model again") from None
    pooling = {("pooling_mode_mean_tokens",): "mean", ("pooling_mode_cls_token",): "cls"}.get(tuple(modes))
    if pooling is None:
        raise ConfigError(f"--streams: {path} pools tokens neither by their mean nor by the first of them")
    return pooling
