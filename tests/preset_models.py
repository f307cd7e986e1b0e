"""Models of the presets, with random weights, in the files that their repositories on the hub have.

Configurations are the published ones, in the older spelling that these repositories keep; `tiny` makes them small.
Weights are float32 there, and float16 at the true size, to save room on the disk. Files that no encoder reads, such as
weights for other libraries, hold `UNREAD`.
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
BERT = {
    "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "directionality": "bidi", "eos_token_id": 2,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 1024, "initializer_range": 0.02,
    "intermediate_size": 4096, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
    "num_attention_heads": 16, "num_hidden_layers": 24, "output_past": True, "pad_token_id": 0, "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform", "type_vocab_size": 2, "vocab_size": 21128,
}  # fmt: skip
ROBERTA = {
    "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 4096,
    "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "num_attention_heads": 16,
    "num_hidden_layers": 24, "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265,
}  # fmt: skip
HUBERT = {
    "activation_dropout": 0.1, "apply_spec_augment": True, "attention_dropout": 0.1, "bos_token_id": 1,
    "conv_bias": True, "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2], "ctc_loss_reduction": "sum", "ctc_zero_infinity": False,
    "do_stable_layer_norm": True, "eos_token_id": 2, "feat_extract_activation": "gelu", "feat_extract_dropout": 0.0,
    "feat_extract_norm": "layer", "feat_proj_dropout": 0.1, "final_dropout": 0.1, "gradient_checkpointing": False,
    "hidden_act": "gelu", "hidden_dropout": 0.1, "hidden_dropout_prob": 0.1, "hidden_size": 1024,
    "initializer_range": 0.02, "intermediate_size": 4096, "layer_norm_eps": 1e-05, "layerdrop": 0.1,
    "mask_time_length": 10, "mask_time_prob": 0.05, "model_type": "hubert", "num_attention_heads": 16,
    "num_conv_pos_embedding_groups": 16, "num_conv_pos_embeddings": 128, "num_feat_extract_layers": 7,
    "num_hidden_layers": 24, "pad_token_id": 0, "vocab_size": 32,
}  # fmt: skip
CLIP_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
CLIP_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
WHISPER = {
    "activation_dropout": 0.0, "activation_function": "gelu", "attention_dropout": 0.0,
    "begin_suppress_tokens": [220, 50257], "bos_token_id": 50257, "d_model": 1280, "decoder_attention_heads": 20,
    "decoder_ffn_dim": 5120, "decoder_layerdrop": 0.0, "decoder_layers": 32, "decoder_start_token_id": 50258,
    "dropout": 0.0, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "encoder_layerdrop": 0.0,
    "encoder_layers": 32, "eos_token_id": 50257, "init_std": 0.02, "is_encoder_decoder": True, "max_length": 448,
    "max_source_positions": 1500, "max_target_positions": 448, "model_type": "whisper", "num_hidden_layers": 32,
    "num_mel_bins": 128, "pad_token_id": 50256, "scale_embedding": False, "use_cache": True, "vocab_size": 51866,
}  # fmt: skip
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
SMALL_WHISPER = {"d_model": 16, "num_hidden_layers": 2, "max_length": 80}
SMALL_WHISPER |= {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (
    ("layers", 2), ("ffn_dim", 24), ("attention_heads", 2))}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """One model of the presets: write(folder, tiny) makes what is read of it; unread names what lies beside."""

    write: Callable[[Path, bool], None]
    unread: tuple[str, ...]


def write(model: str, folder: Path, *, tiny: bool) -> Path:
    """Make the repository of a model id in `folder`, and return it."""
    repository = REPOSITORIES[model]
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    repository.write(folder, tiny)
    for name in (*repository.unread, ".gitattributes", "README.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(UNREAD)
    return folder


def write_bert(folder: Path, tiny: bool) -> None:
    """BERT, which the Chinese RoBERTa and MacBERT are: vocab.txt, tokenizer.json, pytorch_model.bin."""
    config = BERT | (SMALL if tiny else {})
    first = ["[PAD]", *(f"[unused{k}]" for k in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*first, *map(chr, range(33, 127)), *"，。？！、", *map(chr, range(0x4E00, 0x9FA6))]
    words += [f"[unused{k}]" for k in range(100, 100 + config["vocab_size"] - len(words))]
    transformers.BertTokenizer(vocab={word: k for k, word in enumerate(words)}).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", {"init_inputs": []})
    names = ("unk", "sep", "pad", "cls", "mask")
    _write_json(folder / "special_tokens_map.json", {f"{name}_token": f"[{name.upper()}]" for name in names})
    _write_json(folder / "added_tokens.json", {})
    _write_json(folder / "config.json", config | {"architectures": ["BertForMaskedLM"]})
    # With what was trained beside the masks, and in the older file format, as these repositories have it.
    weights = _weights(transformers.BertForPreTraining, transformers.BertConfig(**config), tiny)
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not tiny)


def write_roberta(folder: Path, tiny: bool) -> None:
    """RoBERTa: vocab.json and merges.txt beside tokenizer.json, model.safetensors."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    config = ROBERTA | (SMALL | {"vocab_size": len(words)} if tiny else {})
    vocabulary = {word: k for k, word in enumerate(words)}
    transformers.RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    _write_merges(folder, vocabulary)
    (folder / "dict.txt").write_text("", encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", {"model_max_length": 512})
    _write_json(folder / "config.json", config | {"architectures": ["RobertaForMaskedLM"]})
    weights = _weights(transformers.RobertaForMaskedLM, transformers.RobertaConfig(**config), tiny)
    del weights["lm_head.decoder.weight"]  # that of the words
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def write_hubert(folder: Path, tiny: bool) -> None:
    """HuBERT: preprocessor_config.json, and pytorch_model.bin whose convolution over positions has its older names."""
    small = SMALL | {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = HUBERT | (small if tiny else {})
    sound = {"do_normalize": True, "feature_size": 1, "padding_side": "right", "padding_value": 0}
    sound |= {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True}
    _write_json(folder / "preprocessor_config.json", sound | {"sampling_rate": 16000})
    _write_json(folder / "config.json", config | {"architectures": ["HubertModel"]})
    weights = _weights(transformers.HubertModel, transformers.HubertConfig(**config), tiny)
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name in list(weights):
        for new, old in older.items():
            if name.endswith(new):
                weights[name.replace(new, old)] = weights.pop(name)
    torch.save(weights, folder / "pytorch_model.bin")


def write_clip(folder: Path, tiny: bool) -> None:
    """CLIP: a preprocessor_config.json with sizes as numbers, settings of both halves written twice, and positions."""
    text, vision = dict(CLIP_TEXT), CLIP_VISION | {"patch_size": 14}
    if tiny:
        text, vision = text | SMALL | {"vocab_size": 100}, vision | SMALL | {"patch_size": 56}
    projection = 24 if tiny else 768
    halves = {"text": text | {"projection_dim": projection}, "vision": vision | {"projection_dim": projection}}
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": projection}
    config |= {f"{half}_config_dict": settings for half, settings in halves.items()}
    config |= {f"{half}_config": s | {"model_type": f"clip_{half}_model"} for half, s in halves.items()}
    _write_json(folder / "config.json", config | {"logit_scale_init_value": 2.6592, "initializer_factor": 1.0})
    pictures = {"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3}
    pictures |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    pictures |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224}
    _write_json(folder / "preprocessor_config.json", pictures)
    _write_merges(folder, {"a": 0})
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        _write_json(folder / name, {})
    made = transformers.CLIPConfig(
        text_config=halves["text"], vision_config=halves["vision"], projection_dim=projection
    )
    weights = _weights(transformers.CLIPModel, made, tiny)
    n_patches = (224 // vision["patch_size"]) ** 2
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["vision_model.embeddings.position_ids"] = torch.arange(n_patches + 1)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def write_whisper_large(folder: Path, tiny: bool) -> None:
    """Whisper large-v3, in float16, with the index of its float32 shards."""
    _write_whisper(folder, WHISPER, SMALL_WHISPER if tiny else {}, tiny, torch.float16)
    shards = {"model.encoder.conv1.weight": 1, "model.decoder.embed_tokens.weight": 2}
    index = {name: f"model.fp32-{k:05}-of-00002.safetensors" for name, k in shards.items()}
    _write_json(folder / "model.safetensors.index.fp32.json", {"metadata": {}, "weight_map": index})
    index = {name: f"pytorch_model.fp32-{k:05}-of-00002.bin" for name, k in shards.items()}
    _write_json(folder / "pytorch_model.bin.index.fp32.json", {"metadata": {}, "weight_map": index})


def write_whisper_base(folder: Path, tiny: bool) -> None:
    """Whisper base, whose configuration forces tokens, and whose preprocessor_config.json holds the mel filters."""
    base = {"d_model": 512, "decoder_ffn_dim": 2048, "encoder_ffn_dim": 2048, "num_mel_bins": 80, "vocab_size": 51865}
    base |= {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (
        ("layers", 6), ("attention_heads", 8))}  # fmt: skip
    _write_whisper(
        folder, WHISPER | base | {"num_hidden_layers": 6}, SMALL_WHISPER if tiny else {}, tiny, torch.float32
    )
    path = folder / "preprocessor_config.json"
    filters = transformers.WhisperFeatureExtractor(feature_size=80).mel_filters.T.round(6).tolist()
    _write_json(path, json.loads(path.read_text()) | {"mel_filters": filters})


def _write_whisper(folder: Path, config: dict, small: dict, tiny: bool, dtype: torch.dtype) -> None:
    """Its tokens are bytes; at the true size, others fill the vocabulary up."""
    n_languages = len(LANGUAGES) - (config["num_mel_bins"] == 80)  # Cantonese came with large-v3
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in list(LANGUAGES)[:n_languages])]
    specials += [f"<|{name}|>" for name in ("translate", "transcribe", "startoflm", "startofprev")]
    specials += ["<|nospeech|>" if n_languages == 100 else "<|nocaptions|>", "<|notimestamps|>"]
    words = sorted(ByteLevel.alphabet())
    if not tiny:
        words += [f"\u0120{k}" for k in range(config["eos_token_id"] - len(words))]
    tokenizer = transformers.WhisperTokenizer(vocab={word: k for k, word in enumerate(words)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.add_tokens([f"<|{k * 0.02:.2f}|>" for k in range(1501)])
    tokenizer.pad_token = specials[0]
    tokenizer.save_pretrained(folder)
    _write_merges(folder, {word: k for k, word in enumerate(words)})
    _write_json(folder / "normalizer.json", {})
    _write_json(folder / "added_tokens.json", tokenizer.get_added_vocab())
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in specials}
    ends = {
        "bos_token_id": ids[specials[0]],
        "eos_token_id": ids[specials[0]],
        "decoder_start_token_id": ids[specials[1]],
    }
    ends |= {"begin_suppress_tokens": [tokenizer.convert_tokens_to_ids("\u0120"), ids[specials[0]]]}
    ends |= {"pad_token_id": ids[specials[0]] - (n_languages == 100), "suppress_tokens": [1, 2, 7]}
    config = config | small | ends | {"vocab_size": len(tokenizer)}
    forced = [[1, None], [2, ids["<|transcribe|>"]]]
    _write_json(
        folder / "config.json",
        config | {"architectures": ["WhisperForConditionalGeneration"], "forced_decoder_ids": forced},
    )
    generation = {
        "alignment_heads": [[config["decoder_layers"] - 1, 0]],
        "forced_decoder_ids": forced,
        "is_multilingual": True,
        "lang_to_id": {token: ids[token] for token in specials[2 : 2 + n_languages]},
        "max_initial_timestamp_index": 50,
        "max_length": config["max_length"],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "task_to_id": {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
    }
    _write_json(folder / "generation_config.json", ends | generation)
    mels = {"chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "hop_length": 160, "n_fft": 400}
    mels |= {"feature_size": config["num_mel_bins"], "n_samples": 480000, "nb_max_frames": 3000, "padding_value": 0.0}
    mels |= {"padding_side": "right", "processor_class": "WhisperProcessor", "return_attention_mask": False}
    _write_json(folder / "preprocessor_config.json", mels | {"sampling_rate": 16000})
    ignored = ("forced_decoder_ids", "suppress_tokens", "begin_suppress_tokens", "max_length")
    kept = {key: value for key, value in config.items() if key not in ignored}
    weights = _weights(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**kept), tiny)
    del weights["proj_out.weight"]  # that of the tokens
    if tiny:  # it says letters only
        tokens = weights["model.decoder.embed_tokens.weight"]
        letters = torch.tensor([tokenizer.convert_tokens_to_ids(c) for c in LETTERS])
        tokens.copy_(torch.zeros_like(tokens).index_copy(0, letters, torch.randn(len(letters), tokens.shape[1])))
        weights["model.decoder.embed_positions.weight"].normal_(
            0, 5
        )  # and other ones in each place, or it would repeat itself
    save_file({name: w.to(dtype) for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def _weights(kind: type, config: transformers.PretrainedConfig, tiny: bool) -> dict[str, Tensor]:
    """Random weights by name, so that a signal neither dies nor grows; no network is made for it."""
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in kind(config).state_dict().items()}
    return {name: _random(name, shape, torch.float32 if tiny else torch.float16) for name, shape in shapes.items()}


def _random(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    if name.endswith("bias"):
        return torch.zeros(shape, dtype=dtype)
    if "norm" in name.lower() or name.endswith("original0"):
        return torch.ones(shape, dtype=dtype)
    embeds = "embed" in name and "conv" not in name and "patch" not in name
    deviation = 0.02 if embeds or len(shape) < 2 else 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape, dtype=dtype).normal_(0, deviation)


def _write_merges(folder: Path, vocabulary: dict[str, int]) -> None:
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


REPOSITORIES = {
    "hfl/chinese-roberta-wwm-ext-large": Repository(write_bert, ("flax_model.msgpack", "tf_model.h5")),
    "hfl/chinese-macbert-large": Repository(write_bert, ("flax_model.msgpack", "tf_model.h5")),
    "FacebookAI/roberta-large": Repository(
        write_roberta,
        (
            "flax_model.msgpack",
            "tf_model.h5",
            "pytorch_model.bin",
            "rust_model.ot",
            "onnx/model.onnx",
            "onnx/config.json",
        ),
    ),
    "TencentGameMate/chinese-hubert-large": Repository(write_hubert, ("chinese-hubert-large-fairseq-ckpt.pt",)),
    "facebook/hubert-large-ll60k": Repository(write_hubert, ("tf_model.h5",)),
    "openai/clip-vit-large-patch14": Repository(write_clip, ("flax_model.msgpack", "tf_model.h5", "pytorch_model.bin")),
    "openai/whisper-large-v3": Repository(
        write_whisper_large,
        (
            "flax_model.msgpack",
            "pytorch_model.bin",
            *(f"pytorch_model.fp32-{k:05}-of-00002.bin" for k in (1, 2)),
            *(f"model.fp32-{k:05}-of-00002.safetensors" for k in (1, 2)),
        ),
    ),
    "openai/whisper-base": Repository(write_whisper_base, ("flax_model.msgpack", "tf_model.h5", "pytorch_model.bin")),
}
