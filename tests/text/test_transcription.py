import json
import runpy
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from meiju.config import Config, ConfigError, CorpusConfig, SpeechConfig
from meiju.features.media import write_clip
from meiju.presets import PRESETS
from meiju.run import NotYet, Run
from meiju.text import transcription
from meiju.text.transcription import Transcriber, transcribe
from meiju.utils import files, hub
from toy_models import write_whisper

RATE = 16_000
CPU = torch.device("cpu")
SCRIPTS = Path(__file__).parents[2] / "scripts"


def write_ctc(folder: Path) -> None:
    """A wav2vec2 of one layer with random weights, whose tokens are characters."""
    vocabulary = {c: k for k, c in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"你好吗走"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    convolutions = {"conv_dim": (16, 16), "conv_stride": (20, 160), "conv_kernel": (40, 160)}
    convolutions |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(vocabulary), **sizes, **convolutions))
    with torch.no_grad():  # it says characters only
        model.lm_head.weight.mul_(30)
        model.lm_head.bias[:5] = -100
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, SpeechConfig]:
    """Settings of two models with random weights: what they hear is nonsense, but always the same."""
    settings = {}
    for name, write in (("whisper", write_whisper), ("ctc", write_ctc)):
        folder = tmp_path_factory.mktemp(name)
        write(folder)
        settings[name] = SpeechConfig(str(folder), "zh", 2)
    return settings


def sound(k: int, seconds: float = 0.6) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = 100 * (k + 1) * (1 + np.sin(2 * np.pi * (k + 1) * t))  # Hz
    return (0.4 * np.sin(np.cumsum(2 * np.pi * pitch / RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> pd.DataFrame:
    """Seven clips without a sentence: four of sound, one each that is empty, without sound, and silent."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"c{k}.mp4" for k in range(7)]
    for k in (0, 2, 4, 6):
        write_clip(paths[k], None, sound(k, 0.4 + 0.1 * k), fps=5, rate=RATE)
    paths[1].touch()
    write_clip(paths[3], np.zeros((3, 16, 16, 3), np.uint8), None, fps=5)
    write_clip(paths[5], None, np.zeros(RATE, np.float32), fps=5, rate=RATE)
    return pd.DataFrame({"name": [p.stem for p in paths], "path": list(map(str, paths))})


WITHOUT = ["c1", "c3", "c5"]


@pytest.mark.parametrize("model", ["whisper", "ctc"])
def test_every_clip_gets_a_sentence_or_a_reason(models, clips, tmp_path, model):
    table = transcribe(models[model], clips, tmp_path, device=CPU)
    assert table.name.tolist() == clips.name.tolist()
    assert table.name[table.sentence == ""].tolist() == WITHOUT
    reasons = table.set_index("name").reason
    assert "not decodable" in reasons["c1"]
    assert reasons["c3"] == "there is no audio track"
    assert reasons["c5"] == "the sound is silent"
    assert (reasons.drop(WITHOUT) == "").all()
    if model == "ctc":
        assert set("".join(table.sentence)) <= set("你好吗走 ")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "transcription.csv", dtype=str, keep_default_na=False), table, check_dtype=False
    )


@pytest.mark.parametrize("model", ["whisper", "ctc"])
def test_the_result_does_not_depend_on_the_batch_or_the_call(models, clips, tmp_path, model):
    tables = []
    for k, batch_size in enumerate((1, 3, 3)):
        speech = SpeechConfig(models[model].model, "zh", batch_size)
        tables.append(transcribe(speech, clips, tmp_path / str(k), device=CPU))
    assert tables[1].equals(tables[2])
    assert tables[0].equals(tables[1])
    assert tables[0].sentence.nunique() > 2, "all clips sound the same to the model, so nothing is compared"


def test_a_cpu_hears_few_clips_at_once_for_the_memory_that_each_takes(models):
    transcriber = Transcriber(SpeechConfig(models["whisper"].model, "zh", 16), device=CPU)
    transcriber.pipe = Mock(wraps=transcriber.pipe, device=CPU)
    assert len(transcriber._texts([sound(k) for k in range(5)])) == 5
    assert transcriber.pipe.call_args.kwargs["batch_size"] == transcription.TOGETHER_ON_CPU < 5


def test_only_clips_that_have_changed_are_heard_again(models, clips, tmp_path, monkeypatch):
    inputs = {name: f"hash of {name}" for name in clips.name}
    first = transcribe(models["ctc"], clips, tmp_path / "first", inputs=inputs, device=CPU)
    heard, original = [], Transcriber._sound
    monkeypatch.setattr(Transcriber, "_sound", lambda self, path: heard.append(path) or original(self, path))
    changed = inputs | {clips.name[1]: "another hash"}
    options = {"inputs": changed, "device": CPU, "earlier": [tmp_path / "first"]}
    second = transcribe(models["ctc"], clips, tmp_path / "second", **options)
    assert heard == [clips.path[1]]
    assert second.sentence.equals(first.sentence)
    assert list(second.input) == list(changed.values())


@pytest.mark.parametrize("torn", ["", '[{"name": "c4", "senten'])
def test_a_transcription_that_was_killed_goes_on(models, clips, tmp_path, monkeypatch, torn):
    whole = transcribe(models["ctc"], clips, tmp_path / "whole", device=CPU)
    heard = []
    original = Transcriber._batch

    def batch(self, clips):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append([name for name, _ in clips])
        return original(self, clips)

    monkeypatch.setattr(Transcriber, "_batch", batch)
    with pytest.raises(KeyboardInterrupt):
        transcribe(models["ctc"], clips, tmp_path / "cut", device=CPU)
    assert not (tmp_path / "cut" / "transcription.csv").exists()
    with (tmp_path / "cut" / "transcribed.jsonl").open("a") as file:
        file.write(torn)
    heard[:] = [["before"]]
    with pytest.raises(KeyboardInterrupt):
        transcribe(models["ctc"], clips, tmp_path / "cut", device=CPU)
    assert heard[1:] == [["c4", "c5"]]
    heard.clear()
    assert transcribe(models["ctc"], clips, tmp_path / "cut", device=CPU).equals(whole)
    assert heard == [["c6"]]


@pytest.mark.parametrize(("model", "window"), [("whisper", 2), ("ctc", 30)])
def test_a_clip_longer_than_the_models_window_is_heard_to_its_end(models, tmp_path, monkeypatch, model, window):
    monkeypatch.setattr(transcription, "repeated", lambda _: "")  # nonsense repeats itself
    long = sound(3, window + 0.5)
    said = []
    for k, end in enumerate((sound(5, 2), sound(0, 2))):
        write_clip(tmp_path / f"{k}.mp4", None, np.concatenate([long, end]), fps=5, rate=RATE)
        table = pd.DataFrame({"name": ["long"], "path": [str(tmp_path / f"{k}.mp4")]})
        (sentence,) = transcribe(models[model], table, tmp_path / str(k), device=CPU).sentence
        said.append(sentence)
    assert said[0] != said[1]
    assert all(said)


def test_a_film_is_heard_piece_by_piece_where_it_is_loud(models, tmp_path, monkeypatch):
    for name, seconds in (("PIECE", 3), ("EDGE", 1), ("CHUNK", 1)):
        monkeypatch.setattr(transcription, name, seconds)
    quiet = np.zeros(RATE // 2, np.float32)
    loud = [sound(k, 2.2) for k in range(3)]
    film = [piece for one in loud for piece in (one, quiet)]
    write_clip(tmp_path / "film.mp4", None, np.concatenate([*film, np.zeros(4 * RATE, np.float32)]), fps=5, rate=RATE)
    heard = []
    monkeypatch.setattr(Transcriber, "_long_text", lambda self, samples: heard.append(samples) or f"走{len(heard)}")
    table = pd.DataFrame({"name": ["film"], "path": [str(tmp_path / "film.mp4")]})
    (sentence,) = transcribe(models["ctc"], table, tmp_path / "heard", device=CPU).sentence
    assert sentence == "走1 走2 走3"
    assert all(2 * RATE < len(samples) <= 3 * RATE for samples in heard)  # the silence after them is not heard
    assert all(np.abs(samples[-100:]).max() < 0.01 for samples in heard)  # cut where it is quiet


def test_a_moments_sound_is_too_short(models, tmp_path):
    write_clip(tmp_path / "a.mp4", None, sound(0, 0.01), fps=5, rate=RATE)
    clips = pd.DataFrame({"name": ["a"], "path": [str(tmp_path / "a.mp4")]})
    table = transcribe(models["ctc"], clips, tmp_path / "out", device=CPU)
    assert table.reason.tolist() == ["the sound is shorter than 0.1 seconds"]


def test_a_clip_that_was_deleted_meanwhile_is_told(models, clips, tmp_path):
    lost = clips.head(2).assign(path=[clips.path.iloc[0], str(tmp_path / "deleted.mp4")])
    table = transcribe(models["ctc"], lost, tmp_path / "out", device=CPU)
    assert table.reason.tolist()[1] == f"{tmp_path / 'deleted.mp4'} is gone"


def test_whisper_is_told_the_language_and_never_to_translate(models):
    model = models["whisper"].model
    plain = SpeechConfig(model, "zh", prompt="")
    assert Transcriber(plain, device=CPU).options == {"task": "transcribe", "language": "zh"}
    assert Transcriber(SpeechConfig(model), device=CPU).options == {"task": "transcribe"}
    with pytest.raises(ConfigError, match=r"--speech\.language: .* knows en, zh; got de"):
        Transcriber(SpeechConfig(model, "de"), device=CPU)
    assert Transcriber(models["ctc"], device=CPU).options == {}


def test_whisper_is_given_a_prompt_that_is_no_part_of_what_it_hears(models):
    model = models["whisper"].model
    said = {}
    for prompt in ("auto", "", "ab"):
        transcriber = Transcriber(SpeechConfig(model, "zh", 2, prompt), device=CPU)
        said[prompt] = transcriber._texts([sound(0, 0.6), sound(1, 0.5)]), transcriber._long_text(sound(2, 2.5))
        given = transcriber.options.get("prompt_ids")
        text = "" if given is None else transcriber.pipe.tokenizer.decode(given)
        assert transcription.prompt_of(transcriber.speech) in text
    assert transcription.prompt_of(SpeechConfig(model, "zh")) == transcription.PROMPTS["zh"]
    assert transcription.prompt_of(SpeechConfig(model, "en")) == ""
    for texts, long in said.values():
        assert len(texts) == 2
        assert all("ab" not in text[:3] and "普通话" not in text for text in (*texts, long))


@pytest.mark.parametrize(
    ("speech", "wanted"),
    [
        ({"language": "zh"}, "我们听说你发财了"),
        ({"language": "zh", "simplified": False}, "我們聽說你發財了"),
        ({"language": "en"}, "我們聽說你發財了"),
    ],
)
def test_chinese_is_written_in_simplified_characters(models, speech, wanted):
    transcriber = Transcriber(SpeechConfig(models["ctc"].model, **speech), device=CPU)
    assert transcriber._sentence(" 我們聽說你發財了\n") == (wanted, "")


def test_a_text_that_repeats_itself_is_no_sentence(models):
    transcriber = Transcriber(models["ctc"], device=CPU)
    assert transcriber._sentence("嗯" * 30) == ("", "the model says nothing but '嗯', again and again")
    assert transcriber._sentence("好的，" + "谢谢 " * 12)[1] == "the model says nothing but '谢谢', again and again"
    for text in (
        "哈哈哈哈哈哈",
        "不不不不，我不去",
        "no no no no",
        "他笑了半天，哈哈哈哈哈哈哈哈哈哈，然后就走了，再也没有回来过。",
    ):
        assert transcriber._sentence(text) == (text, "")


def hum(level: float) -> np.ndarray:
    return level * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)


CLICK = np.eye(1, RATE, RATE // 2)[0]
NOISE = np.random.default_rng(0).normal(size=RATE)


@pytest.mark.parametrize(
    ("samples", "loud"),
    [
        (hum(1e-3), False),
        (hum(1e-2) + 0.3, False),
        (np.full(RATE, 0.9), False),
        (CLICK, False),
        (1e-3 * NOISE, False),
        (1e-2 * NOISE + 0.3, True),
        (sound(1), True),
        (np.pad(0.02 * sound(1, 0.3), RATE), True),
    ],
)
def test_silence_is_told_by_level_without_constant_hum_and_clicks(samples, loud):
    assert transcription.is_loud(samples.astype(np.float32), RATE) is loud


def test_a_model_for_english_only_is_told_nothing(models, tmp_path):
    for path in Path(models["whisper"].model).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps(generation | {"is_multilingual": False}))
    assert Transcriber(SpeechConfig(str(tmp_path), "en"), device=CPU).options == {}


def test_a_model_that_hears_nothing_is_refused(models, tmp_path):
    for path in Path(models["ctc"].model).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["Wav2Vec2Model"]}
    (tmp_path / "config.json").write_text(json.dumps(config))  # its encoder alone, without the head
    with pytest.raises(ConfigError, match=r"--speech\.model: .* is no speech recognition model: .* Wav2Vec2Model"):
        Transcriber(SpeechConfig(str(tmp_path)), device=CPU)


# The step


def write_corpus(root: Path) -> Path:
    """Clips with and without sentences, in every part; the pool has no table, as the organisers hand it out."""
    tables = {
        "Training": "FileName,Subtitle,emotion,intent\nt1.mp4,走吧。,happy,suggesting\nt2.mp4,,sad,neutral\n",
        "Validation": "FileName,Subtitle,emotion,intent\nv1.mp4, ,happy,neutral\n",
        "Testing": "FileName,Subtitle\nx1.mp4,why?\nx2.mp4,\n",
    }
    for folder in ("Annotation", "NoAnnotation"):
        (root / folder).mkdir(parents=True)
    for part, text in tables.items():
        (root / "Annotation" / f"{part}_transcription.csv").write_text(text, encoding="utf-8")
    for k, name in enumerate(("t1", "t2", "v1", "x1")):
        write_clip(root / "Annotation" / f"{name}.mp4", None, sound(k), fps=5, rate=RATE)
    (root / "Annotation" / "x2.mp4").touch()
    write_clip(root / "NoAnnotation" / "u1.mp4", None, sound(9), fps=5, rate=RATE)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def run_script(script: str, root: Path, home: Path, *flags: str) -> None:
    argv = sys.argv
    sys.argv = [script, "custom", "--corpus.root", str(root), "--home", str(home), "--device", "cpu"]
    sys.argv += ["--streams", "audio=smart-turn", *flags]  # all that each part of this corpus has
    try:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    finally:
        sys.argv = argv


def test_the_steps_transcribe_what_has_no_sentence_and_leave_the_rest(models, root, tmp_path, capsys, monkeypatch):
    flags = ("--speech.model", models["ctc"].model)
    with pytest.raises(SystemExit, match="01_transcribe"):
        run_script("02_refine_punctuation.py", root, tmp_path, *flags)
    run_script("01_transcribe.py", root, tmp_path, *flags)
    assert "3 of 4 clips without a sentence got one" in capsys.readouterr().out
    (path,) = tmp_path.glob("work/_shared/transcription/*/transcription.csv")
    heard = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("name")
    assert heard.index.tolist() == ["t2", "u1", "v1", "x2"]
    run_script("02_refine_punctuation.py", root, tmp_path, *flags)
    (path,) = tmp_path.glob("work/custom/transcripts/*/transcripts.csv")
    written = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("name").sentence
    assert written[["t1", "x1"]].tolist() == ["走吧。", "why?"]
    assert written[heard.index].tolist() == heard.sentence.tolist()
    run_script("01_transcribe.py", root, tmp_path, *flags)
    assert "transcription: done before with these settings" in capsys.readouterr().out
    monkeypatch.setattr(transcription, "Transcriber", None)  # another run finds what was heard
    run_script("01_transcribe.py", root, tmp_path, *flags, "--run", "second")
    assert "3 of 4 clips without a sentence got one" in capsys.readouterr().out
    changed = shutil.copytree(root, tmp_path / "changed")
    (changed / "NoAnnotation" / "u1.mp4").unlink()
    run_script("01_transcribe.py", changed, tmp_path, *flags, "--run", "third")
    assert "2 of 3 clips without a sentence got one" in capsys.readouterr().out


def test_without_a_model_nothing_is_done_and_nothing_asked_for(root, tmp_path, capsys):
    run_script("01_transcribe.py", root, tmp_path)
    assert "4 clips without a sentence keep none" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()
    run_script("02_refine_punctuation.py", root, tmp_path)
    (path,) = tmp_path.glob("work/custom/transcripts/*/transcripts.csv")
    assert pd.read_csv(path, dtype=str, keep_default_na=False).sentence.str.strip().tolist().count("") == 4


def test_transcribed_and_untranscribed_results_are_kept_apart(models, root, tmp_path):
    def folders(**speech):
        run = Run(Config("custom", home=tmp_path, corpus=CorpusConfig(root), speech=SpeechConfig(**speech)))
        return run.folder("transcripts"), run

    none, _ = folders()
    ctc, run = folders(model=models["ctc"].model)
    others = [folders(model=models["ctc"].model, language="zh")[0], folders(model=models["whisper"].model)[0]]
    others += [folders(model=models["ctc"].model, prompt="好。")[0]]
    assert len({none, ctc, *others}) == 5
    assert folders(model=models["ctc"].model, batch_size=3)[0] == ctc
    with pytest.raises(NotYet, match="01_transcribe"):
        run.transcribed()


def test_a_missing_model_is_said_before_anything_is_done(root, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as caught:
        run_script("01_transcribe.py", root, tmp_path, "--speech.model", "openai/whisper-tiny")
    said = str(caught.value)
    assert str(tmp_path / "cache") in said
    assert "`hf download openai/whisper-tiny " in said
    assert "--speech.model none" in said
    assert "4 clips" in said
    assert not (tmp_path / "work").exists()


def test_no_model_is_needed_where_nothing_is_missing(root, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "identity", lambda model: pytest.fail("the model was looked for"))
    whole = write_corpus(tmp_path / "whole")
    for part, empty in (("Training", "t2.mp4,,"), ("Validation", "v1.mp4, ,"), ("Testing", "x2.mp4,")):
        table = whole / "Annotation" / f"{part}_transcription.csv"
        filled = empty.replace(",,", ",好,").replace(", ,", ",好,").replace("x2.mp4,", "x2.mp4,好")
        table.write_text(table.read_text(encoding="utf-8").replace(empty, filled), encoding="utf-8")
    (whole / "NoAnnotation" / "u1.mp4").unlink()
    run = Run(Config("custom", home=tmp_path, corpus=CorpusConfig(whole), speech=SpeechConfig("somebody/model")))
    assert not run.transcribes
    assert run.folder("transcripts")
    assert run.transcribed().sentence.tolist() == ["走吧。", "好", "好", "why?", "好"]


def test_the_challenges_presets_expect_a_pool_without_transcripts():
    languages = {name: (preset.speech.model, preset.speech.language) for name, (_, preset) in PRESETS.items()}
    assert languages.pop("sample") == languages.pop("custom") == ("none", "auto")
    assert languages.pop("small") == ("openai/whisper-base", "auto")
    assert {name.partition("-")[2]: said for name, said in languages.items()} == {
        "mandarin": ("openai/whisper-large-v3", "zh"),
        "english": ("openai/whisper-large-v3", "en"),
    }


def test_the_summary_counts_the_reasons():
    table = pd.DataFrame({"sentence": ["好", "", ""], "reason": ["", "silent", "silent"]})
    assert transcription.describe(table).splitlines() == [
        "transcription: 1 of 3 clips without a sentence got one",
        "  2 clips: silent",
    ]


@pytest.mark.parametrize("text", ["name,sentence\na,b\na,c\n", "name\na\n", "", "\xff"])
def test_a_damaged_transcription_is_named(tmp_path, text):
    (tmp_path / "transcription.csv").write_bytes(text.encode("latin-1"))
    clips = pd.DataFrame({"name": ["a"], "sentence": [""]})
    with pytest.raises(files.Damaged, match=r"transcription\.csv is damaged"):
        transcription.fill(clips, tmp_path)
