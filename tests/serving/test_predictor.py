import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from meiju.config import ConfigError, CorpusConfig
from meiju.data.corpus import read_corpus
from meiju.data.labels import TASKS
from meiju.features import media
from meiju.features.base import Clip
from meiju.serving.bundle import find_run
from meiju.serving.predictor import FEW, Predictor
from toy_clips import damage_packet, write_noise
from toy_run import run_script


@pytest.fixture(scope="module")
def predictor(home) -> Predictor:
    return Predictor(find_run("sample", home), device="cpu")


@pytest.fixture(scope="module")
def testing(root) -> list[Clip]:
    """The corpus' test clips, with their sentences as they stand in its table."""
    table = read_corpus(CorpusConfig(root), needs_media=True).part("testing")
    return [Clip(clip.name, clip.sentence, clip.path) for clip in table.itertuples()]


@pytest.fixture
def moved(home, tmp_path) -> Path:
    """The run's results in another place, to be changed at will; without its corpus."""
    shutil.copytree(home, tmp_path / "moved")
    return tmp_path / "moved"


def change_settings(home: Path, **settings) -> Path:
    """The folder of a run whose model.json holds other settings."""
    path = home / "submissions" / "sample" / "model.json"
    model = json.loads(path.read_text())
    model["settings"] |= settings
    path.write_text(json.dumps(model))
    return path.parent


def numbers(predictions) -> np.ndarray:
    return np.array([[*p.probabilities["emotion"].values(), *p.probabilities["intent"].values()] for p in predictions])


def test_a_clip_gets_the_same_alone_among_others_and_by_workers(home, predictor, testing):
    together = predictor.predict(testing)
    alone = np.concatenate([numbers(predictor.predict([clip])) for clip in testing])
    np.testing.assert_allclose(numbers(together), alone, atol=1e-6)
    clips = [*testing, Clip("gone", "好", "gone.mp4"), Clip("no file", "好", ""), *testing]
    assert len(clips) > FEW
    by_workers = Predictor(find_run("sample", home), device="cpu", n_jobs=2)
    assert by_workers.predict(clips) == predictor.predict(clips)


@pytest.mark.parametrize(
    ("tracks", "sentence", "streams", "reasons"),
    [
        ({"sound": False}, "", ("visual",), {"text": "no sentence", "audio": "there is no audio track"}),
        ({"pictures": False}, "好", ("text", "audio"), {"visual": "there is no video track"}),
        (None, "好", ("text",), {"audio": "no media file", "visual": "no media file"}),
    ],
)
def test_what_a_clip_lacks_is_not_used_and_reported(predictor, tmp_path, tracks, sentence, streams, reasons):
    path = "" if tracks is None else str(write_noise(tmp_path / "a.mp4", **tracks))
    (prediction,) = predictor.predict([Clip("a", sentence, path)])
    assert prediction.streams == streams
    assert prediction.missing == reasons
    assert prediction.problem == ""
    for task in TASKS:
        assert sum(prediction.probabilities[task].values()) == pytest.approx(1)


def test_damage_is_noted_and_of_a_clip_with_nothing_to_read_no_label_is_made_up(predictor, tmp_path):
    damaged = write_noise(tmp_path / "damaged.mp4")
    damage_packet(damaged, "audio", 4)
    (prediction,) = predictor.predict([Clip("a", "好", str(damaged))])
    assert prediction.streams == ("text", "audio", "visual")
    assert list(prediction.notes) == ["audio", "visual"]  # there is no face in noise
    assert "of the audio track is lost" in prediction.notes["audio"]
    broken, good = tmp_path / "broken.mp4", Clip("good", "好", "")
    broken.write_bytes(b"no clip at all")
    first, second = predictor.predict([Clip("broken", " ", str(broken)), good])
    assert first.probabilities == {"emotion": {}, "intent": {}}
    assert "not decodable" in first.problem
    assert second.probabilities["emotion"]


def test_frames_that_lie_ready_are_used_where_there_are_some(moved, tmp_path):
    for encoder in moved.glob("work/_shared/features/audio-*/encoder"):
        (encoder / "unit.json").write_text('{"unit": 1.0}')

    def predict(place: Path):
        streams = ["text=tfidf-svd", f"audio=npy:{place}", "visual=face-geometry"]
        clips = [Clip(name, "好", "") for name in ("new", "other", "huge")]
        return Predictor(change_settings(moved, streams=streams), device="cpu").predict(clips)

    np.save(tmp_path / "new.npy", np.ones((3, 768), np.float32))
    np.save(tmp_path / "huge.npy", np.full((3, 768), 1e6, np.float32))
    new, other, huge = predict(tmp_path)
    gone, *_ = predict(tmp_path / "nowhere")
    assert new.streams == ("text", "audio")
    for prediction, reason in ((other, "no other.npy"), (huge, "not finite"), (gone, "nowhere")):
        assert prediction.streams == ("text",)
        assert reason in prediction.missing["audio"]
    np.testing.assert_allclose(numbers([gone]), numbers([other]), atol=1e-6)


def test_an_exported_run_answers_alike_and_holds_no_data(home, predictor, testing, tmp_path, capsys):
    target = tmp_path / "new" / "model"
    run_script("predict.py", "sample", "--home", str(home), "--export", str(target))
    assert f"{target} can be given in place of sample" in capsys.readouterr().out
    target = target.rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(
        numbers(Predictor(find_run(str(target), tmp_path), device="cpu").predict(testing)),
        numbers(predictor.predict(testing)),
    )
    kinds = {path.suffix for path in target.rglob("*") if path.is_file()}
    assert kinds == {".json", ".npz", ".safetensors"}
    assert str(home) not in (target / "model.json").read_text()


def test_runs_that_are_not_there_or_not_finished(home, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no run other.*there are sample"):
        find_run("other", home)
    with pytest.raises(ConfigError, match=r"run_all\.sh makes one"):
        find_run("sample", tmp_path)
    (tmp_path / "work" / "begun").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not finished; run scripts/08_ensemble"):
        find_run("begun", tmp_path)
    with pytest.raises(ConfigError, match=r"no such folder with a model\.json"):
        find_run(str(tmp_path), tmp_path)


def test_the_script_answers_the_good_clips_and_names_the_bad(home, testing, tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    good, empty, none = testing[0].path, str(tmp_path / "empty.mp4"), str(tmp_path / "none.mp4")
    with pytest.raises(SystemExit) as caught:
        run_script("predict.py", "sample", good, empty, none, "--home", str(home), "--format", "json")
    _, first, second = str(caught.value).splitlines()
    assert first.startswith(f"{empty}: is empty")
    assert second == f"{none}: there is no such file"
    records = {record["clip"]: bool(record["emotion"]) for record in json.loads(capsys.readouterr().out)}
    assert records == {good: True, empty: False, none: False}


def test_a_missing_speech_model_is_named_where_it_is_needed(moved, tmp_path):
    path = str(write_noise(tmp_path / "a.mp4"))
    speech = {"model": str(moved / "whisper"), "language": "zh", "batch_size": 1}
    predictor = Predictor(change_settings(moved, speech=speech), device="cpu")
    assert predictor.predict([Clip("a", "好", path), Clip("b", "", "")])[0].probabilities["emotion"]
    with pytest.raises(ConfigError, match=r"--speech\.model of the run: .*whisper.*; or give each clip its sentence"):
        predictor.predict([Clip("a", "", path)])


def test_a_film_is_distinguished_from_the_clips_that_were_learnt_from(predictor, testing, tmp_path):
    longest = predictor._run.longest
    assert 0.5 < longest < 10
    media.write_clip(tmp_path / "film.mp4", None, np.zeros(int(11 * longest * 16_000), np.float32), fps=5)
    film, clip = predictor.predict([Clip("film", "好", str(tmp_path / "film.mp4")), testing[0]])
    assert film.notes["length"].startswith(f"it plays {11 * longest:.0f} seconds, and the longest clip that")
    assert "length" not in clip.notes
