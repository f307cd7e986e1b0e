"""Pretrained models of one layer with random weights, written as transformers keeps them."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


def write_bert(folder: Path, characters: Iterable[str]) -> None:
    """A BERT whose tokens are these characters."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: k for k, word in enumerate(words)}).save_pretrained(folder)


def write_whisper(folder: Path, **settings: int) -> None:
    """A Whisper whose tokens are bytes: what it hears is nonsense, but always the same. settings: of WhisperConfig."""
    tokenizer = WhisperTokenizer(vocab={c: k for k, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.add_tokens([f"<|{k * 0.02:.2f}|>" for k in range(1501)])
    tokenizer.pad_token = SPECIAL[0]
    tokenizer.save_pretrained(folder)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    sizes = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 16))}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16, "num_mel_bins": 8}
    sizes |= {"max_source_positions": 100, "max_target_positions": 64}
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), ids[SPECIAL[0]])
    ends["decoder_start_token_id"] = ids[SPECIAL[1]]
    config = WhisperConfig(vocab_size=len(tokenizer), **(sizes | settings), **ends)
    seconds = config.max_source_positions // 50
    WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds).save_pretrained(folder)
    torch.manual_seed(2)
    model = WhisperForConditionalGeneration(config)
    letters = [tokenizer.convert_tokens_to_ids(c) for c in "abcdefghijklmnopqrstuvwxyz"]
    with torch.no_grad():  # it says letters only, and what it hears decides which
        tokens = model.model.decoder.embed_tokens.weight
        tokens.copy_(torch.zeros_like(tokens).index_copy(0, torch.tensor(letters), torch.randn(26, config.d_model)))
        model.model.encoder.conv1.weight.mul_(30)
        model.model.encoder.conv2.weight.mul_(30)
        attention = model.model.decoder.layers[0].encoder_attn
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            layer.weight.mul_(30)
    model.generation_config = GenerationConfig(
        **ends,
        is_multilingual=True,
        lang_to_id={token: ids[token] for token in SPECIAL[2:4]},
        task_to_id={"translate": ids[SPECIAL[4]], "transcribe": ids[SPECIAL[5]]},
        no_timestamps_token_id=ids[SPECIAL[-1]],
        prev_sot_token_id=ids["<|startofprev|>"],
        begin_suppress_tokens=[ids[SPECIAL[0]]],
        max_new_tokens=8,
        num_beams=1,
    )
    model.save_pretrained(folder)
