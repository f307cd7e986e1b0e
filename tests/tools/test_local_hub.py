"""The presets' models through a hub, in the files that their repositories have; the rest is in local_hub.py itself."""

import numpy as np
import pandas as pd
import pytest
import torch

import preset_models
from local_hub import FLAGS, LocalHub, make_corpus, models_of
from meiju.features.base import Clip
from meiju.features.media import write_clip
from meiju.features.registry import make_encoder
from meiju.presets import PRESETS
from meiju.text.transcription import transcribe
from toy_run import STEPS, run_script

RATE = 16_000


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    return {model: preset_models.write(model, folder / model) for model in preset_models.REPOSITORIES}


@pytest.fixture
def hub(repositories, tmp_path, monkeypatch):
    with LocalHub(repositories).serving() as hub:
        hub.use(tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of a second, of different sounds and pictures."""
    folder, rng, made = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for k, sentence in enumerate(("你想吃什么？", "no, thank you")):
        sound = 0.3 * np.sin(2 * np.pi * (150 + 300 * k) * np.arange(RATE) / RATE)
        pictures = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
        write_clip(folder / f"{k}.mp4", pictures, sound.astype(np.float32), fps=5, rate=RATE)
        made.append(Clip(str(k), sentence, str(folder / f"{k}.mp4")))
    return made


@pytest.mark.parametrize("preset", ["track1-mandarin", "track1-english", "small"])
def test_a_preset_fetches_what_it_reads_and_encodes(hub, clips, tmp_path, preset):
    config = PRESETS[preset][1]
    for name in config.encoders.values():
        if name.startswith("hf:"):
            first, second = (getattr(one, "frames", one) for one in make_encoder(name, config).encode(clips))
            assert first.shape[1] == second.shape[1]
            assert np.isfinite(first).all()
            assert first.shape != second.shape or not np.allclose(first, second)
    table = pd.DataFrame([{"name": clip.name, "path": clip.path} for clip in clips])
    assert transcribe(config.speech, table, tmp_path, device=torch.device("cpu")).sentence.str.len().gt(5).all()
    unread = {f"{model}/{name}" for model in models_of(preset) for name in preset_models.REPOSITORIES[model].unread}
    assert unread & {path.partition(" ")[0] for path in hub.sent()} == set()
    for model in models_of(preset):
        assert any(path.startswith(model) for path in hub.sent())


def test_a_preset_runs_from_an_empty_cache_to_a_submission(hub, tmp_path):
    root = make_corpus(tmp_path / "corpus", n_training=24, n_others=4, n_pool=4)
    flags = FLAGS.replace("--jobs 2", "--jobs 1").replace("--model.heads 1 2", "--model.heads 1").split()
    for step in ("01_transcribe", *STEPS[:-1]):  # without the report
        run_script(f"{step}.py", "track1-mandarin", "--home", str(tmp_path), "--corpus.root", str(root), *flags)
    assert (tmp_path / "submissions" / "track1-mandarin" / "submission.zip").is_file()
    transcribed = pd.read_csv(next(tmp_path.glob("work/*/transcription/*/transcription.csv")), keep_default_na=False)
    assert transcribed.sentence.str.len().gt(5).sum() >= 4
