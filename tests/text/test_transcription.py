import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from meiju.config import ConfigError, SpeechConfig
from meiju.features.media import write_clip
from meiju.text import transcription
from meiju.text.transcription import Transcriber, transcribe
from meiju.utils import files
from toy_models import write_whisper
from toy_run import run_script

RATE = 16_000
CPU = torch.device("cpu")


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
    """Settings of two models with random weights: what they transcribe is nonsense, but always the same."""
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
    """Four clips of sound, and one each that is empty, without sound, silent, a moment's, and gone."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"c{k}.mp4" for k in range(9)]
    for k in (0, 2, 4, 6):
        write_clip(paths[k], None, sound(k, 0.4 + 0.1 * k), fps=5, rate=RATE)
    paths[1].touch()
    write_clip(paths[3], np.zeros((3, 16, 16, 3), np.uint8), None, fps=5)
    write_clip(paths[5], None, np.zeros(RATE, np.float32), fps=5, rate=RATE)
    write_clip(paths[7], None, sound(0, 0.01), fps=5, rate=RATE)
    return pd.DataFrame({"name": [p.stem for p in paths], "path": list(map(str, paths))})


WITHOUT = {"c1": "not decodable", "c3": "there is no audio track", "c5": "the sound is silent"}
WITHOUT |= {"c7": "the sound is shorter than 0.1 seconds", "c8": "c8.mp4 is gone"}


@pytest.mark.parametrize("model", ["whisper", "ctc"])
def test_every_clip_gets_a_sentence_or_a_reason_whatever_the_batch(models, clips, tmp_path, model):
    table, other = (
        transcribe(SpeechConfig(models[model].model, "zh", size), clips, tmp_path / str(size), device=CPU)
        for size in (1, 3)
    )
    assert table.equals(other)
    assert table.sentence.nunique() > 2, "all clips sound the same to the model, so nothing is compared"
    assert table.name.tolist() == clips.name.tolist()
    assert table.name[table.sentence == ""].tolist() == list(WITHOUT)
    reasons = dict(zip(table.name, table.reason, strict=True))
    assert all(part in reasons.pop(name) for name, part in WITHOUT.items())
    assert set(reasons.values()) == {""}
    if model == "ctc":
        assert set("".join(table.sentence)) <= set("你好吗走 ")
    written = pd.read_csv(tmp_path / "3" / "transcription.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(written, table, check_dtype=False)


def sentence_of(model: SpeechConfig, folder: Path, samples: np.ndarray) -> str:
    """What is transcribed of one clip."""
    write_clip(folder / "clip.mp4", None, samples, fps=5, rate=RATE)
    [[transcript]] = Transcriber(model, device=CPU).transcribe([("clip", str(folder / "clip.mp4"))])
    return transcript.sentence


@pytest.mark.parametrize("torn", ["", '\n[["c4", "你'])
def test_a_transcription_that_was_killed_goes_on(models, clips, tmp_path, monkeypatch, torn):
    whole = transcribe(models["ctc"], clips, tmp_path / "whole", device=CPU)
    batches, original, is_alive = [], Transcriber._batch, iter([True, True, False])

    def batch(self, clips):
        if not next(is_alive, True):
            raise KeyboardInterrupt
        batches.append([name for name, _ in clips])
        return original(self, clips)

    monkeypatch.setattr(Transcriber, "_batch", batch)
    with pytest.raises(KeyboardInterrupt):
        transcribe(models["ctc"], clips, tmp_path / "cut", device=CPU)
    assert not (tmp_path / "cut" / "transcription.csv").exists()
    with (tmp_path / "cut" / "transcribed.jsonl").open("a") as file:
        file.write(torn)
    batches.clear()
    assert transcribe(models["ctc"], clips, tmp_path / "cut", device=CPU).equals(whole)
    assert batches == [["c4", "c5"], ["c6", "c7"], ["c8"]]


@pytest.mark.parametrize(("model", "window"), [("whisper", 2), ("ctc", 30)])
def test_a_clip_longer_than_the_models_window_is_transcribed_to_its_end(models, tmp_path, monkeypatch, model, window):
    monkeypatch.setattr(transcription, "repeated", lambda _: "")  # nonsense repeats itself
    ends = (np.concatenate([sound(3, window + 0.5), end]) for end in (sound(5, 2), sound(0, 2)))
    one, other = (sentence_of(models[model], tmp_path, samples) for samples in ends)
    assert "" != one != other != ""


def test_a_film_is_transcribed_piece_by_piece_where_it_is_loud(models, tmp_path, monkeypatch):
    for name, seconds in (("PIECE", 3), ("EDGE", 1), ("CHUNK", 1)):
        monkeypatch.setattr(transcription, name, seconds)
    quiet = np.zeros(RATE // 2, np.float32)
    film = [piece for k in range(3) for piece in (sound(k, 2.2), quiet)]
    pieces = []
    monkeypatch.setattr(Transcriber, "_long_text", lambda self, samples: pieces.append(samples) or f"走{len(pieces)}")
    film = np.concatenate([*film, np.zeros(4 * RATE, np.float32)])
    assert sentence_of(models["ctc"], tmp_path, film) == "走1 走2 走3"
    assert all(2 * RATE < len(samples) <= 3 * RATE for samples in pieces)  # without the silence after them
    assert all(np.abs(samples[-100:]).max() < 0.01 for samples in pieces)  # cut where it is quiet


def test_whisper_is_given_the_language_and_never_to_translate(models, tmp_path):
    def options(model: str, *settings: str, **prompt: str) -> dict:
        return Transcriber(SpeechConfig(model, *settings, **prompt), device=CPU).options

    model = models["whisper"].model
    assert options(model, "zh", prompt="") == {"task": "transcribe", "language": "zh"}
    assert options(model) == {"task": "transcribe"}
    with pytest.raises(ConfigError, match=r"--speech\.language: .* knows en, zh; got de"):
        options(model, "de")
    generation = Path(shutil.copytree(model, tmp_path / "english")) / "generation_config.json"
    generation.write_text(json.dumps(json.loads(generation.read_text()) | {"is_multilingual": False}))
    assert options(str(generation.parent), "en") == options(models["ctc"].model) == {}


@pytest.mark.parametrize("prompt", ["auto", ""])
def test_whisper_is_given_a_prompt_that_is_no_part_of_its_text(models, prompt):
    transcriber = Transcriber(SpeechConfig(models["whisper"].model, "zh", 2, prompt), device=CPU)
    texts = [*transcriber._texts([sound(0, 0.6), sound(1, 0.5)]), transcriber._long_text(sound(2, 2.5))]
    given = transcriber.options.get("prompt_ids")
    wanted = transcription.PROMPTS["zh"] if prompt == "auto" else prompt
    assert wanted in ("" if given is None else transcriber.pipe.tokenizer.decode(given))
    assert len(texts) == 3
    assert all("ab" not in text[:3] and "普通话" not in text for text in texts)


def test_a_sentence_is_in_simplified_characters_and_no_endless_repetition(models):
    transcriber, traditional = Transcriber(models["ctc"], device=CPU), "我們聽說你發財了"
    assert transcriber._sentence(f" {traditional}\n") == ("我们听说你发财了", "")
    laughter = "他笑了，哈哈哈哈哈哈哈哈哈哈，再也没有回来过。"
    assert transcriber._sentence(laughter) == (laughter, "")
    for piece, text in (("嗯", "嗯" * 30), ("谢谢", "好的，" + "谢谢 " * 12)):
        assert transcriber._sentence(text) == ("", f"the model says nothing but {piece!r}, again and again")
    for settings in ({"language": "zh", "simplified": False}, {"language": "en"}):
        other = Transcriber(SpeechConfig(models["ctc"].model, **settings), device=CPU)
        assert other._sentence(traditional) == (traditional, "")


def test_silence_is_known_by_level_without_constant_hum_and_clicks():
    hum, noise = np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE), np.random.default_rng(0).normal(size=RATE)
    click = np.eye(1, RATE, RATE // 2)[0]
    silent, loud = (1e-2 * hum + 0.3, click, 1e-3 * noise), (1e-2 * noise + 0.3, np.pad(0.02 * sound(1, 0.3), RATE))
    assert not any(transcription.is_loud(samples, RATE) for samples in silent)
    assert all(transcription.is_loud(samples, RATE) for samples in loud)


def test_a_model_that_transcribes_nothing_is_refused(models, tmp_path):
    encoder = Path(shutil.copytree(models["ctc"].model, tmp_path / "encoder"))
    config = (encoder / "config.json").read_text()
    (encoder / "config.json").write_text(config.replace("Wav2Vec2ForCTC", "Wav2Vec2Model"))  # without the head
    with pytest.raises(ConfigError, match=r"--speech\.model: .* is no speech recognition model: .* Wav2Vec2Model"):
        Transcriber(SpeechConfig(str(encoder)), device=CPU)


# The step


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Clips with and without sentences, in every part; the pool has no table, as the organisers hand it out."""
    root = tmp_path_factory.mktemp("corpus")
    tables = {
        "Training": "FileName,Subtitle,emotion,intent\nt1.mp4,走吧。,happy,suggesting\nt2.mp4,,sad,neutral\n",
        "Validation": "FileName,Subtitle,emotion,intent\nv1.mp4, ,happy,neutral\n",
        "Testing": "FileName,Subtitle\nx1.mp4,why?\nx2.mp4,\n",
    }
    for part, text in tables.items():
        files.write_text(root / "Annotation" / f"{part}_transcription.csv", text)
    (root / "NoAnnotation").mkdir()
    for k, name in enumerate(("Annotation/t1", "Annotation/t2", "Annotation/v1", "Annotation/x1", "NoAnnotation/u1")):
        write_clip(root / f"{name}.mp4", None, sound(k), fps=5, rate=RATE)
    (root / "Annotation" / "x2.mp4").touch()
    return root


def run_step(script: str, root: Path, home: Path, *flags: str) -> None:
    given = ("custom", "--corpus.root", str(root), "--home", str(home), "--device", "cpu")
    run_script(script, *given, "--streams", "audio=smart-turn", *flags)  # all that each part of this corpus has


def read(home: Path, pattern: str) -> pd.DataFrame:
    (path,) = home.glob(pattern)
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("name")


def test_the_steps_transcribe_what_has_no_sentence_and_leave_the_rest(models, root, tmp_path, capsys, monkeypatch):
    flags = ("--speech.model", models["ctc"].model)
    with pytest.raises(SystemExit, match="01_transcribe"):
        run_step("02_refine_punctuation.py", root, tmp_path, *flags)
    run_step("01_transcribe.py", root, tmp_path, *flags)
    assert "3 of 4 clips without a sentence got one" in capsys.readouterr().out
    transcribed = read(tmp_path, "work/_shared/transcription/*/transcription.csv").sentence
    assert transcribed.index.tolist() == ["t2", "u1", "v1", "x2"]
    run_step("02_refine_punctuation.py", root, tmp_path, *flags)
    written = read(tmp_path, "work/custom/transcripts/*/transcripts.csv").sentence
    assert written[["t1", "x1"]].tolist() == ["走吧。", "why?"]
    assert written[transcribed.index].equals(transcribed)
    run_step("01_transcribe.py", root, tmp_path, *flags)
    assert "transcription: done before with these settings" in capsys.readouterr().out
    again, original = [], Transcriber._sound

    def noted(self, path, **options):
        again.append(path)
        return original(self, path, **options)

    monkeypatch.setattr(Transcriber, "_sound", noted)
    run_step("01_transcribe.py", root, tmp_path, *flags, "--run", "second")
    assert "3 of 4 clips without a sentence got one" in capsys.readouterr().out
    assert again == []
    changed = shutil.copytree(root, tmp_path / "changed") / "NoAnnotation" / "u1.mp4"
    write_clip(changed, None, sound(9), fps=5, rate=RATE)
    run_step("01_transcribe.py", tmp_path / "changed", tmp_path, *flags, "--run", "third")
    assert "3 of 4 clips without a sentence got one" in capsys.readouterr().out
    assert again == [str(changed)]


def test_without_a_model_and_with_a_missing_one_nothing_is_done(root, tmp_path, monkeypatch, capsys):
    run_step("01_transcribe.py", root, tmp_path)
    assert "4 clips without a sentence keep none" in capsys.readouterr().out
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as caught:
        run_step("01_transcribe.py", root, tmp_path, "--speech.model", "openai/whisper-tiny")
    for part in (str(tmp_path / "cache"), "`hf download openai/whisper-tiny ", "--speech.model none"):
        assert part in str(caught.value)
    assert not (tmp_path / "work").exists()
