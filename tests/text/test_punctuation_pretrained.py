from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from test_punctuation import toy_sentences, unmarked
from transformers import BertConfig, BertForTokenClassification

from meiju.config import Config, ConfigError
from meiju.text import punctuation, refine
from meiju.text.punctuation.base import MARKS, evaluate
from meiju.text.punctuation.pretrained import TokenRestorer, marks_of_labels, open_pretrained, windows_of
from meiju.utils import hub

CPU = torch.device("cpu")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = sorted({c for s in toy_sentences() for c in unmarked(s)})
VOCABULARY = [*SPECIAL, *CHARACTERS, "how", "are", "you", "walk", "##ing", "a", "##s"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def bert(**settings) -> BertConfig:
    return BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=40, **SIZES, **settings)


def write_lookup(folder: Path, marks: dict[str, str], labels=("O", "S-，", "S-。", "S-？", "S-！"), scale=9.0) -> str:
    """A token classifier that knows marks by heart: the token (an entry of VOCABULARY) decides, and nothing else."""
    network = BertForTokenClassification(bert(id2label=dict(enumerate(labels))))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(name.endswith("LayerNorm.weight"))
        for k, token in enumerate(VOCABULARY):
            mark = marks.get(token, "")
            column = next((n for n, label in enumerate(labels) if mark and label.endswith(mark)), 0)
            network.bert.embeddings.word_embeddings.weight[k, column] = 1
        network.classifier.weight[range(len(labels)), range(len(labels))] = scale
    network.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def restorer(tmp_path_factory) -> TokenRestorer:
    folder = write_lookup(tmp_path_factory.mktemp("lookup"), {"吗": "？", "了": "。"})
    return TokenRestorer(folder, device=CPU)


def test_results_do_not_depend_on_what_is_read_together(restorer):
    bare = [unmarked(s) for s in toy_sentences()] + ["", " ", "小王喝茶吗" * 30]
    assert restorer.restore_all(bare) == [one for s in bare for one in restorer.restore_all([s])]
    assert restorer.restore_all(["小王喝茶了" * 100 + "你喝茶吗"]) == ["小王喝茶了。" * 100 + "你喝茶吗？"]


@pytest.mark.parametrize("n", [1, 8, 9, 100])
@pytest.mark.parametrize("width", [2, 7])
def test_every_place_is_decided_once_and_away_from_the_ends_of_its_window(n, width):
    windows = list(windows_of(n, width))
    assert [j for _, _, first, end in windows for j in range(first, end)] == list(range(n))
    for start, stop, first, end in windows:
        assert 0 <= start <= first < end <= stop <= n
        assert stop - start <= width
        assert first == 0 or first - start >= width // 4
        assert end == n or stop - end >= width // 4 - 1


@pytest.mark.parametrize(
    ("labels", "marks"),
    [
        (["O", "S-，", "S-、", "S-。", "S-？", "S-！", "S-；"], ["", "，", "，", "。", "？", "！", "，"]),
        (["O", "COMMA", "PERIOD", "QUESTION"], ["", "，", "。", "？"]),
        (["0", ".", ",", "?", "-", ":"], ["", "。", "，", "？", "", "，"]),
        (["O", "C_COMMA", "C_PERIOD", "C_QUESTIONMARK", "C_EXLAMATIONMARK"], ["", "，", "。", "？", "！"]),
        (["O", "B-？", "I-？"], ["", "？", ""]),
        (["LABEL_0", "full_stop", "exclamation"], ["", "。", "！"]),
    ],
)
def test_labels_that_name_marks_are_understood(labels, marks):
    assert marks_of_labels(labels) == marks


def test_labels_without_marks_are_refused_by_name():
    for labels, what in ((["O", "B-PER", "I-PER"], "a mark"), (["，", "。"], "no mark")):
        with pytest.raises(ConfigError, match=f"--punctuation: none .* names {what}; they are {', '.join(labels)}"):
            marks_of_labels(labels)


def test_a_mark_goes_after_the_last_piece_of_a_word(tmp_path):
    # 'walking' is read as walk, ##ing; a mark that 'walk' asks for would stand within the word.
    restorer = TokenRestorer(write_lookup(tmp_path, {"walk": "，", "##ing": "？", "吗": "？"}), device=CPU)
    bare = ["are you walking", "are you walk", "去北京吗walking"]
    assert restorer.restore_all(bare) == ["are you walking？", "are you walk，", "去北京吗？walking？"]
    assert evaluate(restorer, ["are you walking?"], spaces=False).loc["？", "f1"] == 1  # words are not run together


def test_a_space_between_chinese_characters_makes_a_mark_likelier(tmp_path):
    # 了 leaves it nearly open whether a full stop follows.
    folder = write_lookup(tmp_path, {"吗": "？"}, scale=0.1)
    sentences = ["你回家了 他回家了", "你回家了他回家了", "how are you"]
    with_space, *without = TokenRestorer(folder, device=CPU).restore_all(sentences)
    assert with_space[4] in MARKS
    assert without == sentences[1:]


def test_whether_special_tokens_are_wanted_is_measured(tmp_path, monkeypatch):
    folder = write_lookup(tmp_path, {"吗": "？"})
    original = TokenRestorer._read

    def read(self, rows):  # as of a model that was trained without special tokens, and is lost with them
        return [p * (not self.special_tokens) for p in original(self, rows)]

    assert open_pretrained(folder, toy_sentences(), device=CPU).special_tokens is True
    monkeypatch.setattr(TokenRestorer, "_read", read)
    assert open_pretrained(folder, toy_sentences(), device=CPU).special_tokens is False
    assert open_pretrained(folder, [], device=CPU).special_tokens is True


# The step


def config(home: Path, name: str) -> Config:
    return Config("r", home=home, punctuation=name, device="cpu", jobs=1)


@pytest.mark.parametrize("kind", ["crf", "hf"])
def test_what_refined_the_transcripts_restores_new_sentences(tmp_path, kind):
    name = f"hf:{write_lookup(tmp_path / 'lookup', {'吗': '？'})}" if kind == "hf" else kind
    settings, sentences = config(tmp_path, name), [*toy_sentences(), "小王喝茶吗"]
    names = [f"c{k:03d}" for k in range(len(sentences))]
    clips = pd.DataFrame({"name": names, "sentence": sentences, "part": "training"})
    refine.refine(settings, clips, tmp_path / "out", transcribed=clips)
    restorer = punctuation.load_restorer(settings, tmp_path / "out")
    assert all(path.is_file() for path in punctuation.restorer_files(settings, tmp_path / "out"))
    restored = restorer.restore_all(sentences)
    assert restored[-1] == "小王喝茶吗？"
    assert pd.read_csv(tmp_path / "out" / "transcripts.csv").sentence.tolist() == restored
    assert "spaces at inner marks" in (tmp_path / "out" / "punctuation.csv").read_text(encoding="utf-8")


def test_a_missing_or_unfit_model_is_reported_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(hub.MissingModel, match=r"--punctuation: .*hf download somebody/model"):
        punctuation.fingerprint(config(tmp_path, "hf:somebody/model"))
    bert().save_pretrained(tmp_path / "unfit")
    with pytest.raises(ConfigError, match="none of the model's labels names a mark; they are LABEL_0, LABEL_1"):
        punctuation.fingerprint(config(tmp_path, f"hf:{tmp_path / 'unfit'}"))
