"""Pretrained models: a folder on disk or an id on the Hugging Face hub.

A model in the cache is used as it is, so that a run keeps the revision it began with. Other models are downloaded if
there is a network; if not, one message says what is missing and how to fetch it.
"""

import functools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError

from meiju.config import ConfigError
from meiju.utils import files, system

# Otherwise, loading a checkpoint without safetensors starts its conversion on the hub, from a background thread.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

HUB_ID = r"[\w.-]{1,96}(/[\w.-]{1,96})?"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that exists is read, or its shards, by their index
# Other files of a model that are read: configurations, vocabularies, and the merges or pieces of a tokenizer.
BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model")
POOLING = "1_Pooling/config.json"  # of a sentence encoder: how one vector is made of its tokens
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")


class MissingModel(ConfigError):
    """A pretrained model that is not available; the message says where it was looked for, and how to fetch it."""


def locate(model: str) -> str:
    """The folder that `model` can be loaded from: itself, or the snapshot of a hub id in the cache.

    An id that is not in the cache is downloaded, unless HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set. Raises
    MissingModel.
    """
    if _is_folder(model):
        return str(_folder(model))
    cached = _cached(model)
    return str(cached or _download(model))


def identity(model: str) -> dict:
    """What decides a model's output: an id with the commit of its snapshot, or the hashes of a folder's files.

    No weights are downloaded; for an id that is not in the cache, the hub is asked for its commit. Raises MissingModel.
    """
    if _is_folder(model):
        return {"files": _hashes(_folder(model))}
    cached = _cached(model)
    if cached:
        return {"model": model, "commit": cached.name}
    with _reachable(model):
        return {"model": model, "commit": huggingface_hub.model_info(model).sha}


@contextmanager
def quietly() -> Iterator[None]:
    """Switch off the progress bars and warnings of transformers."""
    import transformers  # takes a second, and to find or identify a model needs none of it

    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.ERROR)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def load(kind: type, model: str, **options):
    """`kind.from_pretrained` of a located model, quietly.

    Python code that comes with a model is never run, and weights are never unpickled into other objects than tensors.
    Raises MissingModel if the model's files are missing or damaged, or it needs code of its own.
    """
    place = locate(model)
    try:
        with quietly():
            return kind.from_pretrained(place, trust_remote_code=False, **options)
    except Exception as error:  # libraries below raise a dozen kinds for files that are damaged or meant ill
        if system.is_system_error(error):
            raise system.unreadable(place, error) from error
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        if "trust_remote_code" in str(error):
            reason = "it needs Python code that comes with it (auto_map in its configuration), and such code is not run"
        raise MissingModel(f"{model} cannot be loaded from {place} as {kind.__name__}: {reason}") from error


def load_tokenizer(model: str, **options):
    """The tokenizer of a model. Raises MissingModel if it has none; transformers would make an empty one."""
    import transformers

    place = Path(locate(model))
    if not any(next(place.glob(pattern), None) for pattern in VOCABULARIES):
        raise MissingModel(f"{model} has no tokenizer: {place} holds none of {', '.join(VOCABULARIES)}")
    return load(transformers.AutoTokenizer, model, **options)


def is_at_hand(model: str) -> bool:
    """Whether a model can be loaded without a download."""
    if _is_folder(model):
        return (Path(model).expanduser() / "config.json").is_file()
    return _cached(model) is not None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds all weights of a model."""
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        shards = set(files.read_json(index)["weight_map"].values()) if index.is_file() else ()
        if (folder / name).is_file() or (shards and all((folder / shard).is_file() for shard in shards)):
            return True
    return False


def _is_folder(model: str) -> bool:
    """Whether a folder is meant, rather than an id. A folder that exists is taken before an id of the same name."""
    return Path(model).expanduser().is_dir() or re.fullmatch(HUB_ID, model) is None or model.startswith(".")


def _folder(model: str) -> Path:
    folder = Path(model).expanduser().resolve()
    if not folder.is_dir():
        raise MissingModel(f"{model!r} is neither a folder nor a Hugging Face hub id like bert-base-chinese")
    if not (folder / "config.json").is_file():
        raise MissingModel(f"{folder} holds no config.json; give a folder made by save_pretrained or `hf download`")
    pointers = [path for path in sorted(folder.iterdir()) if files.is_lfs_pointer(path)]
    if pointers:
        raise MissingModel(f"{pointers[0]} {files.LFS_POINTER}")
    return folder


def _cached(model: str) -> Path | None:
    """The snapshot of the main revision in the cache, if its configuration and weights are there."""
    config = huggingface_hub.try_to_load_from_cache(model, "config.json", cache_dir=constants.HF_HUB_CACHE)
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    return snapshot if has_weights(snapshot) else None


def _download(model: str) -> Path:
    with _reachable(model):
        info = huggingface_hub.model_info(model)
        names = [sibling.rfilename for sibling in info.siblings]
        stem, _, suffix = next((name for name in WEIGHTS if any(map(_shard_of(name), names))), "").partition(".")
        wanted = [*BESIDE_WEIGHTS, f"{stem}.{suffix}", f"{stem}-*-of-*.{suffix}"]
        # Subfolders hold other formats and training states, which are not read.
        top = [name for name in names if "/" not in name and any(fnmatch(name, pattern) for pattern in wanted)]
        snapshot = huggingface_hub.snapshot_download(
            model,
            revision=info.sha,
            allow_patterns=[*top, *({POOLING} & set(names))],
            cache_dir=constants.HF_HUB_CACHE,
        )
    _point_main_to(Path(snapshot))
    if _cached(model) is None:
        raise MissingModel(f"{model} on the Hugging Face hub holds no config.json with {' or '.join(WEIGHTS)}")
    return Path(snapshot)


def _shard_of(name: str):
    stem, _, suffix = name.partition(".")
    return re.compile(rf"{stem}(-\d+-of-\d+)?\.{suffix}").fullmatch


def _point_main_to(snapshot: Path) -> None:
    """Write to the cache which commit is the main one; a download by commit does not do that."""
    files.write_text(snapshot.parents[1] / "refs" / "main", snapshot.name)


@contextmanager
def _reachable(model: str) -> Iterator[None]:
    """Turn any error of the hub or the network into a MissingModel."""
    try:
        if huggingface_hub.is_offline_mode():
            raise OSError("the network is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE")
        yield
    except (OSError, ValueError, HTTPError) as error:
        number = system.errno_of(error)
        if isinstance(error, MissingModel) or number in system.SYSTEM - system.NETWORK:  # a full disk, say
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MissingModel(
            f"the pretrained model {model} is not in {constants.HF_HUB_CACHE} and cannot be fetched ({reason}); "
            f"fetch it where there is a network with `hf download {model}`, or give a folder that holds it"
        ) from None


def _hashes(folder: Path) -> dict[str, str]:
    """Hash by name of all files of a model in a folder that are read."""
    weights = next(
        (shards for name in WEIGHTS if (shards := [p.name for p in folder.iterdir() if _shard_of(name)(p.name)])), []
    )
    beside = [path.name for pattern in BESIDE_WEIGHTS for path in folder.glob(pattern)]
    beside += [POOLING] if (folder / POOLING).is_file() else []
    stats = {name: (folder / name).stat() for name in sorted({*weights, *beside})}
    return {name: _hash_once(folder / name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


@functools.lru_cache
def _hash_once(path: Path, size: int, changed: int) -> str:
    return files.file_digest(path)
