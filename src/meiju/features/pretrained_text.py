"""Token features of pretrained language models, and sentence embeddings of those that were made for them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from meiju.config import ConfigError
from meiju.features.base import Clip, Encoded, NoFrames, batches, cut_note, noted
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

    def __init__(self, model: str, *, prefix: str, batch_tokens: int, **options):
        super().__init__(model, **options)
        self.prefix, self.batch_tokens = prefix, batch_tokens
        self.pooling = sentence_pooling(Path(self.place))
        if self.pooling and self.layer is None:
            self.layer = -1
        self.dim = self.settings.hidden_size
        self.tokenizer = load_tokenizer(self.place)

    def more_settings(self) -> dict:
        return {"modality": "text", "prefix": self.prefix, "pooling": self.pooling}

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        spoken = [k for k, clip in enumerate(clips) if clip.sentence.strip()]
        encoded: Encoded = [NoFrames("no sentence")] * len(clips)
        sentences = [self.prefix + clips[k].sentence.strip() for k in spoken]
        tokens = tokenize(self.tokenizer, self.settings, sentences)
        for k, ids in zip(spoken, tokens, strict=True):
            if not ids:  # such as of an invisible character, where no token marks the beginning
                encoded[k] = NoFrames("the model has no token for anything in the sentence")
        spoken = [k for k, ids in zip(spoken, tokens, strict=True) if ids]
        tokens = [ids for ids in tokens if ids]
        most = most_tokens(self.tokenizer, self.settings)
        for batch in batches([len(ids) for ids in tokens], self.batch_tokens):
            for k, frames in zip(batch, self._frames([tokens[k] for k in batch]), strict=True):
                encoded[spoken[k]] = noted(frames, cut_note(len(tokens[k]), most))
        return encoded

    @torch.inference_mode()
    def _frames(self, tokens: list[list[int]]) -> list[np.ndarray]:
        padded = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        hidden = self.hidden(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
        each = [h[: len(ids)].float() for h, ids in zip(hidden, tokens, strict=True)]
        return [(_pool_tokens(h, self.pooling) if self.pooling else self.pool(h)).cpu().numpy() for h in each]


def sentence_pooling(place: Path) -> str | None:
    """How a sentence encoder makes one vector of its tokens, 'mean' or 'cls'; None for any other model.

    Read from the files of the sentence-transformers package. Raises ConfigError for a pooling of another kind.
    """
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


def _pool_tokens(hidden: Tensor, pooling: str) -> Tensor:
    """Token states [T, dim] to one vector [1, dim] of length 1."""
    vector = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
    return torch.nn.functional.normalize(vector, dim=0)[None]


def load_tokenizer(place: str) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a model, padding on the right. Raises ConfigError if it is missing or has no padding token."""
    tokenizer = hub.load_tokenizer(place, padding_side="right")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ConfigError(f"--streams: the tokenizer of {place} has no token to pad with")
    return tokenizer


def tokenize(
    tokenizer: transformers.PreTrainedTokenizerBase, settings: transformers.PretrainedConfig, sentences: list[str]
) -> list[list[int]]:
    """Token numbers of each sentence, truncated to as many as the model reads."""
    if not sentences:
        return []
    return tokenizer(sentences, truncation=True, max_length=most_tokens(tokenizer, settings))["input_ids"]


def most_tokens(tokenizer: transformers.PreTrainedTokenizerBase, settings: transformers.PretrainedConfig) -> int:
    """As many tokens as the model reads of a sentence."""
    positions = getattr(settings, "max_position_embeddings", MAX_TOKENS + 2)
    # Two positions fewer, because RoBERTa counts them from its padding token on.
    return min(tokenizer.model_max_length, MAX_TOKENS, positions - 2)
