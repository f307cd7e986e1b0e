"""Models of the presets' architectures, with random weights, in files named as in their repositories on the hub.

Files that no encoder reads, such as weights for other libraries, hold `UNREAD`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel

from toy_models import write_whisper

UNREAD = b"no encoder reads this file"
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}


def write(model: str, folder: Path, *, large: bool = False) -> Path:
    """Make the repository of a model id in `folder`, and return it. large: of the true sizes, but for vocabularies."""
    make, unread = REPOSITORIES[model]
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    make(folder, large)
    for name in (*unread, ".gitattributes", "README.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(UNREAD)
    return folder


def _bert(folder: Path, large: bool) -> None:
    """What the Chinese RoBERTa and MacBERT are."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(33, 127)), *map(chr, range(0x4E00, 0x9FA6))]
    transformers.BertTokenizer(vocab=_numbered(words)).save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(words), **(LARGE if large else SMALL))
    transformers.BertForPreTraining(config).save_pretrained(folder)
    _pickle(folder)


def _roberta(folder: Path, large: bool) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    transformers.RobertaTokenizer(vocab=_numbered(words), merges=[]).save_pretrained(folder)
    sizes = {"vocab_size": len(words), "max_position_embeddings": 514, "type_vocab_size": 1}
    config = transformers.RobertaConfig(**sizes, **(LARGE if large else SMALL))
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)


def _hubert(folder: Path, large: bool) -> None:
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    norms = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
    convolutions = {"conv_dim": [512 if large else 16] * 7}
    if not large:
        convolutions |= {"num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}
    config = transformers.HubertConfig(**norms, **convolutions, **(LARGE if large else SMALL))
    transformers.HubertModel(config).save_pretrained(folder)
    # The older names of the weights of the convolution over positions.
    _pickle(folder, {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"})


def _clip(folder: Path, large: bool) -> None:
    transformers.CLIPImageProcessor().save_pretrained(folder)
    pictures = (LARGE | {"patch_size": 14}) if large else (SMALL | {"patch_size": 56})
    halves = {"text_config": SMALL | {"vocab_size": 100}, "vision_config": pictures}
    transformers.CLIPModel(transformers.CLIPConfig(**halves)).save_pretrained(folder)


def _whisper(folder: Path, large: bool, *, n_mels: int) -> None:
    sizes = {"num_mel_bins": n_mels, "max_source_positions": 1500, "max_target_positions": 448}
    if large:
        sizes |= {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120, "encoder_attention_heads": 20}
        sizes |= {"decoder_layers": 32, "decoder_ffn_dim": 5120, "decoder_attention_heads": 20}
    write_whisper(folder, **sizes)


def _numbered(words: list[str]) -> dict[str, int]:
    return {word: k for k, word in enumerate(words)}


def _pickle(folder: Path, older: dict[str, str] | None = None) -> None:
    """The weights as pytorch_model.bin, as the older repositories have them; older: endings of names by newer ones."""
    path, weights = folder / "model.safetensors", {}
    for name, values in load_file(path).items():
        for new, old in (older or {}).items():
            name = name.replace(new, old)
        weights[name] = values
    torch.save(weights, folder / "pytorch_model.bin")
    path.unlink()


FLAX_AND_TENSORFLOW = ("flax_model.msgpack", "tf_model.h5")
USUAL = (*FLAX_AND_TENSORFLOW, "pytorch_model.bin")
SHARDS = tuple(f"model.fp32-0000{k}-of-00002.safetensors" for k in (1, 2))
# By id: what writes the files that are read, and what lies beside them.
REPOSITORIES: dict[str, tuple[Callable[[Path, bool], None], tuple[str, ...]]] = {
    "hfl/chinese-roberta-wwm-ext-large": (_bert, FLAX_AND_TENSORFLOW),
    "hfl/chinese-macbert-large": (_bert, FLAX_AND_TENSORFLOW),
    "FacebookAI/roberta-large": (_roberta, (*USUAL, "rust_model.ot", "onnx/model.onnx", "onnx/config.json")),
    "TencentGameMate/chinese-hubert-large": (_hubert, ("chinese-hubert-large-fairseq-ckpt.pt",)),
    "facebook/hubert-large-ll60k": (_hubert, ("tf_model.h5",)),
    "openai/clip-vit-large-patch14": (_clip, USUAL),
    "openai/whisper-large-v3": (partial(_whisper, n_mels=128), ("flax_model.msgpack", "pytorch_model.bin", *SHARDS)),
    "openai/whisper-base": (partial(_whisper, n_mels=80), USUAL),
}
