"""Pretrained models: a folder on disk or an id on the Hugging Face hub.

A model in the cache is used as it is, so that a run keeps the revision it began with. Other models are downloaded if
there is a network; if not, one message says what is missing and how to fetch it.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

from meiju.config import ConfigError
from meiju.utils import files, system

# Otherwise, loading a checkpoint without safetensors starts its conversion on the hub, from a background thread.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
# Plain downloads, which firewalls and mirrors let through. Where the storage of Xet cannot be reached, it waits for
# minutes, and then no other way is tried. HF_HUB_DISABLE_XET=0 asks for it.
if "HF_HUB_DISABLE_XET" not in os.environ:
    constants.HF_HUB_DISABLE_XET = True

HUB_ID = r"[\w.-]{1,96}(/[\w.-]{1,96})?"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that exists is read, or its shards, by their index
# Other files of a model that are read: configurations, vocabularies, and the merges or pieces of a tokenizer.
BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model")
POOLING = "1_Pooling/config.json"  # of a sentence encoder: how one vector is made of its tokens
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
# Weights for other libraries, or once more in another precision, can be five times what is read.
FETCH = "hf download {} --exclude '*.h5' --exclude '*.msgpack' --exclude '*.pt' --exclude '*fp32*'"


class MissingModel(ConfigError):
    """A pretrained model that is not available; the message says where it was looked for, and how to fetch it."""


def locate(model: str) -> str:
    """The folder that `model` can be loaded from: itself, or the snapshot of a hub id in the cache, or a download.

    Raises MissingModel, also where HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the download.
    """
    return str(_folder(model) or _cached(model) or _download(model))


def identity(model: str) -> dict:
    """What decides a model's output: an id with the commit of its snapshot, or the hashes of a folder's files.

    No weights are downloaded; for an id that is not in the cache, the hub is asked for its commit. Raises MissingModel.
    """
    if folder := _folder(model):
        return {"files": _hashes(folder)}
    if cached := _cached(model):
        return {"model": model, "commit": cached.name}
    with _reachable(model):
        return {"model": model, "commit": huggingface_hub.model_info(model, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha}


def load(kind: type, model: str, **options):
    """`kind.from_pretrained` of a located model. Raises MissingModel as `loading` does.

    Python code that comes with a model is never run, and weights are never unpickled into other objects than tensors.
    """
    place = locate(model)
    with loading(model, place, kind.__name__):
        return kind.from_pretrained(place, trust_remote_code=False, **options)


@contextmanager
def loading(model: str, place: str, kind: str) -> Iterator[None]:
    """Raise MissingModel if a model's files are missing or damaged, or it needs code of its own.

    From the first model on, transformers prints neither progress bars nor warnings.
    """
    import transformers  # takes a second, and to find or identify a model needs none of it

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # libraries below raise a dozen kinds for files that are damaged or meant ill
        system.raise_unreadable(place, error)
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        if "trust_remote_code" in str(error):
            reason = "it needs Python code that comes with it (auto_map in its configuration), and such code is not run"
        raise MissingModel(f"{model} cannot be loaded from {place} as {kind}: {reason}") from error


def load_tokenizer(model: str, **options):
    """The tokenizer of a model. Raises MissingModel if it has none; transformers would make an empty one."""
    import transformers

    place = Path(locate(model))
    if not any(next(place.glob(pattern), None) for pattern in VOCABULARIES):
        raise MissingModel(f"{model} has no tokenizer: {place} holds none of {', '.join(VOCABULARIES)}")
    return load(transformers.AutoTokenizer, model, **options)


def is_at_hand(model: str) -> bool:
    """Whether a model can be loaded without a download."""
    with suppress(MissingModel):
        return (_folder(model) or _cached(model)) is not None
    return False


def _folder(model: str) -> Path | None:
    """The folder that is meant, or None for an id. A folder that exists is taken before an id of the same name."""
    folder = Path(model).expanduser().resolve()
    if not folder.is_dir():
        if re.fullmatch(HUB_ID, model) and not model.startswith("."):
            return None
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
    for name in WEIGHTS:
        index = snapshot / f"{name}.index.json"
        shards = set(files.read_json(index)["weight_map"].values()) if index.is_file() else ()
        if (snapshot / name).is_file() or (shards and all((snapshot / shard).is_file() for shard in shards)):
            return snapshot
    return None


def _download(model: str) -> Path:
    """Fetch one set of weights and what is read beside it, at the commit that is the main one now.

    Files follow one another, weights last, and then the commit is noted as the main one: so what was broken off is not
    taken for whole, and Ctrl+C waits for nothing. (huggingface_hub.snapshot_download keeps no such order.)
    """
    with _reachable(model):
        info = huggingface_hub.model_info(model, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        beside, weights = _read_of(sibling.rfilename for sibling in info.siblings)
        if not weights or "config.json" not in beside:
            raise MissingModel(f"{model} on the Hugging Face hub holds no config.json with {' or '.join(WEIGHTS)}")
        for name in (*beside, *weights):
            path = huggingface_hub.hf_hub_download(model, name, revision=info.sha, cache_dir=constants.HF_HUB_CACHE)
        snapshot = Path(path).parent
        files.write_text(snapshot.parents[1] / "refs" / "main", snapshot.name)
    return snapshot


def _read_of(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of the names of a model's files, those that are read: beside the weights, and the first set of weights."""
    names = sorted(names)
    # Other subfolders hold other formats and training states, which are not read.
    top = [name for name in names if "/" not in name]
    beside = [name for name in top if any(fnmatch(name, pattern) for pattern in BESIDE_WEIGHTS)]
    beside += [POOLING] if POOLING in names else []
    for stem, _, suffix in (name.partition(".") for name in WEIGHTS):
        weights = [name for name in top if re.fullmatch(rf"{stem}(-\d+-of-\d+)?\.{suffix}", name)]
        if weights:
            return beside, weights
    return beside, []


@contextmanager
def _reachable(model: str) -> Iterator[None]:
    """Turn any error of the hub, the network or the cache's disk into a MissingModel that says what helps."""
    try:
        if huggingface_hub.is_offline_mode():
            raise OSError("the network is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE")
        yield
    except (OSError, ValueError, RuntimeError, HTTPError) as error:  # RuntimeError is that of Xet, which is Rust
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MissingModel(
            f"the pretrained model {model} is not in {constants.HF_HUB_CACHE} and cannot be fetched ({reason}); "
            f"{_remedy(model, error)}"
        ) from None


def _remedy(model: str, error: Exception) -> str:
    folder = "or give a folder that holds it"
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{model}"
        return f"agree to its terms on {page} and log in with `hf auth login`, {folder}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is none of that name, or it is private: check it, log in with `hf auth login`, {folder}"
    if system.errno_of(error) in system.ROOM | system.ACCESS:
        return "make room there, or set HF_HOME to a larger folder that is writable, and give the same command again"
    again = "" if huggingface_hub.is_offline_mode() else "give the same command again, which goes on where it stopped, "
    return f"{again}fetch it where there is a network with `{FETCH.format(model)}`, {folder}"


def _hashes(folder: Path) -> dict[str, str]:
    """Hash by name of all files of a model in a folder that are read."""
    paths = [path for path in (*folder.iterdir(), folder / POOLING) if path.is_file()]
    beside, weights = _read_of(path.relative_to(folder).as_posix() for path in paths)
    stats = {name: (folder / name).stat() for name in sorted((*beside, *weights))}
    return {name: _hash_once(folder / name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


@functools.lru_cache
def _hash_once(path: Path, size: int, changed: int) -> str:
    return files.file_digest(path)
