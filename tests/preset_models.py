"""Tiny models of the presets, with random weights, in the files that their repositories on the hub have.

Of the published configurations, what differs from the defaults is kept, in the older spelling that these repositories
have; sizes are small. Files that no encoder reads, such as weights for other libraries, hold `UNREAD`.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers.models.whisper.tokenization_whisper import LANGUAGES

UNREAD = b"no encoder reads this file"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
BERT = SMALL | {
    "architectures": ["BertForMaskedLM"], "bos_token_id": 0, "directionality": "bidi", "eos_token_id": 2,
    "model_type": "bert", "output_past": True, "pooler_fc_size": 768, "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "pooler_type": "first_token_transform", "vocab_size": 21128,
}  # fmt: skip
ROBERTA = SMALL | {
    "architectures": ["RobertaForMaskedLM"], "layer_norm_eps": 1e-05, "max_position_embeddings": 514,
    "model_type": "roberta", "type_vocab_size": 1,
}  # fmt: skip
HUBERT = SMALL | {
    "architectures": ["HubertModel"], "conv_bias": True, "conv_dim": [16] * 7, "do_stable_layer_norm": True,
    "feat_extract_dropout": 0.0, "feat_extract_norm": "layer", "feat_proj_dropout": 0.1,
    "gradient_checkpointing": False, "hidden_dropout_prob": 0.1, "model_type": "hubert",
    "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16,
}  # fmt: skip
CLIP = {"text": SMALL | {"vocab_size": 100}, "vision": SMALL | {"patch_size": 56}}
WHISPER = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 16}
WHISPER |= {"num_hidden_layers": 2, "max_length": 80}
WHISPER |= {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (
    ("layers", 2), ("ffn_dim", 24), ("attention_heads", 2))}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """One model of the presets: write(folder) makes what is read of it; unread names what lies beside."""

    write: Callable[[Path], None]
    unread: tuple[str, ...]


def write(model: str, folder: Path) -> Path:
    """Make the repository of a model id in `folder`, and return it."""
    repository = REPOSITORIES[model]
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    repository.write(folder)
    for name in (*repository.unread, ".gitattributes", "README.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(UNREAD)
    return folder


def write_bert(folder: Path) -> None:
    """BERT, which the Chinese RoBERTa and MacBERT are: vocab.txt, tokenizer.json, pytorch_model.bin."""
    first = ["[PAD]", *(f"[unused{k}]" for k in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*first, *map(chr, range(33, 127)), *"，。？！、", *map(chr, range(0x4E00, 0x9FA6))]
    words += [f"[unused{k}]" for k in range(100, 100 + BERT["vocab_size"] - len(words))]
    transformers.BertTokenizer(vocab={word: k for k, word in enumerate(words)}).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    names = ("unk", "sep", "pad", "cls", "mask")
    _write_json(folder, special_tokens_map={f"{name}_token": f"[{name.upper()}]" for name in names})
    _write_json(folder, tokenizer_config={"init_inputs": []}, added_tokens={}, config=BERT)
    # With what was trained beside the masks, and in the older file format, as these repositories have it.
    weights = _weights(transformers.BertForPreTraining, transformers.BertConfig(**BERT))
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def write_roberta(folder: Path) -> None:
    """RoBERTa: vocab.json and merges.txt beside tokenizer.json, model.safetensors."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    config = ROBERTA | {"vocab_size": len(words)}
    vocabulary = {word: k for k, word in enumerate(words)}
    transformers.RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    _write_merges(folder, vocabulary)
    (folder / "dict.txt").write_text("", encoding="utf-8")
    _write_json(folder, tokenizer_config={"model_max_length": 512}, config=config)
    weights = _weights(transformers.RobertaForMaskedLM, transformers.RobertaConfig(**config))
    del weights["lm_head.decoder.weight"]  # that of the words
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def write_hubert(folder: Path) -> None:
    """HuBERT: preprocessor_config.json, and pytorch_model.bin whose convolution over positions has its older names."""
    sound = {"do_normalize": True, "feature_size": 1, "padding_side": "right", "padding_value": 0}
    sound |= {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True}
    _write_json(folder, preprocessor_config=sound | {"sampling_rate": 16000}, config=HUBERT)
    weights = _weights(transformers.HubertModel, transformers.HubertConfig(**HUBERT))
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name in list(weights):
        for new, old in older.items():
            if name.endswith(new):
                weights[name.replace(new, old)] = weights.pop(name)
    torch.save(weights, folder / "pytorch_model.bin")


def write_clip(folder: Path) -> None:
    """CLIP: a preprocessor_config.json with sizes as numbers, settings of both halves written twice, and positions."""
    halves = {half: settings | {"projection_dim": 24} for half, settings in CLIP.items()}
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 24}
    config |= {f"{half}_config_dict": settings for half, settings in halves.items()}
    config |= {f"{half}_config": s | {"model_type": f"clip_{half}_model"} for half, s in halves.items()}
    pictures = {"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3}
    pictures |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    pictures |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224}
    _write_json(folder, config=config | {"initializer_factor": 1.0}, preprocessor_config=pictures)
    _write_merges(folder, {"a": 0})
    _write_json(folder, tokenizer={}, tokenizer_config={}, special_tokens_map={})
    made = transformers.CLIPConfig(text_config=halves["text"], vision_config=halves["vision"], projection_dim=24)
    weights = _weights(transformers.CLIPModel, made)
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["vision_model.embeddings.position_ids"] = torch.arange((224 // CLIP["vision"]["patch_size"]) ** 2 + 1)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def write_whisper_large(folder: Path) -> None:
    """Whisper large-v3, in float16, with the index of its float32 shards."""
    _write_whisper(folder, 128, torch.float16)
    shards = {"model.encoder.conv1.weight": 1, "model.decoder.embed_tokens.weight": 2}
    for name, ending in (("model.safetensors", "safetensors"), ("pytorch_model.bin", "bin")):
        stem = name.partition(".")[0]
        index = {weight: f"{stem}.fp32-{k:05}-of-00002.{ending}" for weight, k in shards.items()}
        _write_json(folder, **{f"{name}.index.fp32": {"metadata": {}, "weight_map": index}})


def write_whisper_base(folder: Path) -> None:
    """Whisper base, whose preprocessor_config.json holds the mel filters."""
    _write_whisper(folder, 80, torch.float32)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    filters = transformers.WhisperFeatureExtractor(feature_size=80).mel_filters.T.round(6).tolist()
    _write_json(folder, preprocessor_config=settings | {"mel_filters": filters})


def _write_whisper(folder: Path, n_mels: int, dtype: torch.dtype) -> None:
    """Its tokens are bytes; it says letters only."""
    newer = n_mels == 128  # than Cantonese and the silence's name
    specials = ["<|endoftext|>", "<|startoftranscript|>"]
    languages = [f"<|{name}|>" for name in list(LANGUAGES)[: len(LANGUAGES) - (not newer)]]
    specials += languages + [f"<|{name}|>" for name in ("translate", "transcribe", "startoflm", "startofprev")]
    specials += ["<|nospeech|>" if newer else "<|nocaptions|>", "<|notimestamps|>"]
    words = {word: k for k, word in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = transformers.WhisperTokenizer(vocab=words, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.add_tokens([f"<|{k * 0.02:.2f}|>" for k in range(1501)])
    tokenizer.pad_token = specials[0]
    tokenizer.save_pretrained(folder)
    _write_merges(folder, words)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in specials}
    ends = {"bos_token_id": ids[specials[0]], "eos_token_id": ids[specials[0]]}
    ends |= {"decoder_start_token_id": ids[specials[1]], "pad_token_id": ids[specials[0]] - newer}
    ends |= {"begin_suppress_tokens": [tokenizer.convert_tokens_to_ids("\u0120"), ids[specials[0]]]}
    ends |= {"suppress_tokens": [1, 2, 7]}
    config = WHISPER | ends | {"num_mel_bins": n_mels, "vocab_size": len(tokenizer)}
    forced = {"forced_decoder_ids": [[1, None], [2, ids["<|transcribe|>"]]]}
    generation = {
        "alignment_heads": [[config["decoder_layers"] - 1, 0]],
        "is_multilingual": True,
        "lang_to_id": {token: ids[token] for token in languages},
        "max_initial_timestamp_index": 50,
        "max_length": config["max_length"],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
    mels = {"chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "hop_length": 160, "n_fft": 400}
    mels |= {"feature_size": n_mels, "n_samples": 480000, "nb_max_frames": 3000, "padding_value": 0.0}
    mels |= {"padding_side": "right", "processor_class": "WhisperProcessor", "return_attention_mask": False}
    _write_json(folder, normalizer={}, added_tokens=tokenizer.get_added_vocab(), config=config | forced)
    _write_json(folder, generation_config=ends | forced | generation)
    _write_json(folder, preprocessor_config=mels | {"sampling_rate": 16000})
    ignored = ("suppress_tokens", "begin_suppress_tokens", "max_length")
    kept = {key: value for key, value in config.items() if key not in ignored}
    weights = _weights(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**kept))
    del weights["proj_out.weight"]  # that of the tokens
    tokens = weights["model.decoder.embed_tokens.weight"]
    letters = torch.tensor([tokenizer.convert_tokens_to_ids(c) for c in LETTERS])
    tokens.copy_(torch.zeros_like(tokens).index_copy(0, letters, torch.randn(len(letters), tokens.shape[1])))
    weights["model.decoder.embed_positions.weight"].normal_(0, 5)  # other ones in each place, or it would repeat itself
    save_file({name: w.to(dtype) for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def _weights(kind: type, config: transformers.PretrainedConfig) -> dict[str, Tensor]:
    """Random weights by name, so that a signal neither dies nor grows; no network is made for it."""
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in kind(config).state_dict().items()}
    return {name: _random(name, shape) for name, shape in shapes.items()}


def _random(name: str, shape: torch.Size) -> Tensor:
    if name.endswith("bias"):
        return torch.zeros(shape)
    if "norm" in name.lower() or name.endswith("original0"):
        return torch.ones(shape)
    embeds = "embed" in name and "conv" not in name and "patch" not in name
    deviation = 0.02 if embeds or len(shape) < 2 else 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).normal_(0, deviation)


def _write_merges(folder: Path, vocabulary: dict[str, int]) -> None:
    _write_json(folder, vocab=vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def _write_json(folder: Path, **values: object) -> None:
    """Each value to the .json file of its name."""
    for stem, value in values.items():
        (folder / f"{stem}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


FLAX_AND_TENSORFLOW = ("flax_model.msgpack", "tf_model.h5")
USUAL = (*FLAX_AND_TENSORFLOW, "pytorch_model.bin")
SHARDS = [f"{stem}.fp32-{k:05}-of-00002.{ending}" for stem, ending in (
    ("model", "safetensors"), ("pytorch_model", "bin")) for k in (1, 2)]  # fmt: skip
REPOSITORIES = {
    "hfl/chinese-roberta-wwm-ext-large": Repository(write_bert, FLAX_AND_TENSORFLOW),
    "hfl/chinese-macbert-large": Repository(write_bert, FLAX_AND_TENSORFLOW),
    "FacebookAI/roberta-large": Repository(
        write_roberta, (*USUAL, "rust_model.ot", "onnx/model.onnx", "onnx/config.json")
    ),
    "TencentGameMate/chinese-hubert-large": Repository(write_hubert, ("chinese-hubert-large-fairseq-ckpt.pt",)),
    "facebook/hubert-large-ll60k": Repository(write_hubert, ("tf_model.h5",)),
    "openai/clip-vit-large-patch14": Repository(write_clip, USUAL),
    "openai/whisper-large-v3": Repository(write_whisper_large, ("flax_model.msgpack", "pytorch_model.bin", *SHARDS)),
    "openai/whisper-base": Repository(write_whisper_base, USUAL),
}
