import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import constants
from transformers import AutoModel, BertConfig, BertModel

from fuzzing.mutations import Payload
from local_hub import LocalHub
from meiju.config import ConfigError
from meiju.utils import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "somebody/tiny-bert"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_folder_is_known_by_its_contents_wherever_it_lies_and_loaded_quietly(folder, tmp_path, capfd):
    hub.load(AutoModel, str(folder))
    assert capfd.readouterr() == ("", "")
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("not read")
    assert hub.locate(str(copy)) == str(copy)
    assert hub.identity(str(copy)) == hub.identity(str(folder))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert hub.identity(str(copy)) != hub.identity(str(folder))
    assert set(hub.identity(str(copy))["files"]) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("model", ["./nowhere", "~/no such folder", "a/b/c", ".."])
def test_what_is_neither_folder_nor_id_is_reported(model):
    for find in (hub.locate, hub.identity):
        with pytest.raises(hub.MissingModel, match=r"neither a folder nor a |holds no config\.json"):
            find(model)


def test_shards_and_the_configuration_are_all_needed(cache, folder):
    repository = cache / "models--somebody--tiny-bert"
    place = shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)  # as a download does
    (place / "model.safetensors").unlink()
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    (place / "model.safetensors.index.json").write_text(index)
    (place / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(hub.MissingModel):
        hub.locate(ID)
    (place / "model-00002-of-00002.safetensors").touch()
    assert hub.locate(ID) == str(place)
    (place / "config.json").unlink()
    with pytest.raises(hub.MissingModel):
        hub.locate(ID)


def test_a_missing_model_is_named_with_the_cache_and_how_to_fetch_it(cache):
    one_line = rf"^[^\n]*{cache}[^\n]*HF_HUB_OFFLINE[^\n]*`hf download {ID} --exclude '\*\.h5'[^\n]*$"
    for find in (hub.locate, hub.identity):
        with pytest.raises(hub.MissingModel, match=one_line):
            find(ID)
    assert issubclass(hub.MissingModel, ConfigError)


@pytest.fixture
def local(cache, folder, tmp_path, monkeypatch):
    """A hub that holds the model in several formats, as the real one does."""
    repository = shutil.copytree(folder, tmp_path / "repository")
    for name in ("pytorch_model.bin", "flax_model.msgpack", "model.fp32-00001-of-00002.safetensors"):
        (repository / name).write_bytes(b"never read")
    for name in ("tokenizer.json", "1_Pooling/config.json", "onnx/config.json"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(f'"{name}"')
    with LocalHub({ID: repository}, revision={ID: COMMIT}).serving() as local:
        local.use(cache, monkeypatch)
        yield local


def test_what_is_downloaded_is_one_set_of_weights_at_one_commit_and_found_again_offline(local, monkeypatch):
    assert hub.identity(ID) == {"model": ID, "commit": COMMIT}
    assert local.sent() == []
    place = hub.locate(ID)
    wanted = {"config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"}
    assert {str(path.relative_to(place)) for path in Path(place).rglob("*") if path.is_file()} == wanted
    assert Path(place).name == COMMIT
    assert isinstance(hub.load(AutoModel, ID), BertModel)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    local.asked.clear()
    assert hub.locate(ID) == place
    assert hub.identity(ID) == {"model": ID, "commit": COMMIT}
    assert local.asked == []


def test_a_run_keeps_the_revision_that_it_began_with(local, cache):
    place = hub.locate(ID)
    local.revision[ID] = "f" * 40
    assert hub.locate(ID) == place
    shutil.rmtree(cache)
    assert Path(hub.locate(ID)).name == "f" * 40
    assert constants.HF_HUB_DISABLE_XET  # whose storage firewalls and mirrors do not let through


def test_a_download_that_is_cut_goes_on_where_it_stopped(local, folder, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    local.cuts = 2
    place = Path(hub.locate(ID))
    starts = [int(path.rpartition("=")[2].rstrip("-")) for path in local.sent() if "bytes=" in path]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]
    assert (place / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_hub_that_is_busy_or_not_there_is_named_with_the_remedy(local, monkeypatch):
    local.busy = 1000
    with pytest.raises(hub.MissingModel, match=r"503.*give the same command again"):
        hub.locate("somebody/else")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", "http://127.0.0.1:9")
    with pytest.raises(hub.MissingModel, match=r"refused.*hf download somebody/third"):
        hub.identity("somebody/third")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left.*make room there, or set HF_HOME"),
        (RuntimeError("Task error"), "Task error.*give the same command again"),
    ],
)
def test_a_download_that_fails_says_what_helps_and_goes_on_later(local, cache, monkeypatch, error, remedy):
    def refuse(url, file, **_):
        file.write(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", refuse)
        with pytest.raises(hub.MissingModel, match=remedy) as caught:
            hub.locate(ID)
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("*.incomplete"))
    assert not hub.is_at_hand(ID)
    assert Path(hub.locate(ID)).name == COMMIT


def test_a_model_that_asks_for_consent_or_is_not_there_is_distinguished(local):
    with pytest.raises(hub.MissingModel, match=r"there is none of that name, or it is private.*`hf auth login`"):
        hub.locate("somebody/else")
    local.gated.add(ID)
    with pytest.raises(hub.MissingModel, match=rf"agree to its terms on {local.address}/{ID} and log in"):
        hub.locate(ID)


def test_a_model_without_a_vocabulary_gets_no_made_up_tokenizer(folder, tmp_path):
    with pytest.raises(hub.MissingModel, match=r"no tokenizer: .*vocab\.txt"):
        hub.load_tokenizer(str(folder))
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好"]))
    assert hub.load_tokenizer(str(tmp_path)).convert_tokens_to_ids("好") == 5


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Settings: pass\nclass Network: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "of-its-own", "auto_map": {"AutoConfig": "code.Settings", "AutoModel": "code.Network"}}
    (copy / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask, and be told to run it
    for kind in (transformers.AutoConfig, AutoModel):
        one_line = r"^[^\n]*needs Python code that comes with it \(auto_map[^\n]*not run[^\n]*$"
        with pytest.raises(hub.MissingModel, match=one_line):
            hub.load(kind, str(copy))
    assert not (tmp_path / "ran").exists()


def test_weights_that_would_run_code_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "model.safetensors").unlink()
    torch.save({"weight": Payload(tmp_path / "ran")}, copy / "pytorch_model.bin")
    with pytest.raises(hub.MissingModel, match=r"cannot be loaded .* as AutoModel: ") as caught:
        hub.load(AutoModel, str(copy))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
