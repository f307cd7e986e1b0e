"""The presets' models through a hub, in the files that their repositories have."""

import numpy as np
import pandas as pd
import pytest
import torch

import preset_models
from local_hub import FLAGS, LocalHub, make_corpus, models_of
from meiju.features.base import Clip
from meiju.features.registry import make_encoder
from meiju.presets import PRESETS
from meiju.text.transcription import transcribe
from toy_run import STEPS, run_script


@pytest.fixture
def hub(request, tmp_path, monkeypatch):
    """A hub with the models of a preset, of which nothing may be fetched that is not read."""
    preset = request.param
    models = {model: preset_models.write(model, tmp_path / "hub" / model) for model in models_of(preset)}
    with LocalHub(models).serving() as hub:
        hub.use(tmp_path / "cache", monkeypatch)
        yield preset
        sent = {path.partition(" ")[0] for path in hub.sent()}
        assert {path.rpartition("/")[0] for path in sent} == set(models)
        assert not sent & {f"{model}/{name}" for model in models for name in preset_models.REPOSITORIES[model][1]}


@pytest.mark.parametrize("hub", ["track1-english", "small"], indirect=True)
def test_a_preset_fetches_what_it_reads_and_encodes(hub, root, tmp_path):
    config = PRESETS[hub][1]
    clips = [Clip(path.stem, "no, thank you", str(path)) for path in sorted(root.rglob("*.mp4"))[:2]]
    for name in config.encoders.values():
        if name.startswith("hf:"):
            first, second = (getattr(one, "frames", one) for one in make_encoder(name, config).encode(clips))
            assert first.shape[1] == second.shape[1]
            assert np.isfinite(first).all()
    table = pd.DataFrame([{"name": clip.name, "path": clip.path} for clip in clips])
    assert transcribe(config.speech, table, tmp_path, device=torch.device("cpu")).sentence.str.len().gt(5).all()


@pytest.mark.parametrize("hub", ["track1-mandarin"], indirect=True)
def test_a_preset_runs_from_an_empty_cache_to_a_submission(hub, tmp_path):
    root = make_corpus(tmp_path / "corpus", n_training=24, n_others=4, n_pool=4)
    flags = FLAGS.replace("--jobs 2", "--jobs 1").replace("--model.heads 1 2", "--model.heads 1").split()
    for step in ("01_transcribe", *STEPS[:-1]):  # without the report
        run_script(f"{step}.py", hub, "--home", str(tmp_path), "--corpus.root", str(root), *flags)
    assert (tmp_path / "submissions" / hub / "submission.zip").is_file()
    transcribed = pd.read_csv(next(tmp_path.glob("work/*/transcription/*/transcription.csv")), keep_default_na=False)
    assert transcribed.sentence.str.len().gt(5).sum() >= 4
