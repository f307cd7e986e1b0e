import pandas as pd
import pytest

from meiju.config import ConfigError, CorpusConfig
from meiju.data.corpus import read_corpus
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.sample import corpus as sample_corpus
from meiju.text.punctuation.base import MARKS
from whole_clips import read_audio, read_frames

SIZES = {"training": 12, "validation": 4, "testing": 4, "unlabelled": 6}
MANY = {"training": 400, "validation": 200, "testing": 200, "unlabelled": 400}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    make_tiny(root)
    return root


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    return sample_corpus.plan(0, MANY)


def make_tiny(root, seed: int = 0) -> None:
    sample_corpus.make_sample(root, seed=seed, sizes=SIZES, n_jobs=1)


def test_a_seed_repeats_the_plan_and_a_clip_and_another_does_not(many):
    planned = sample_corpus.plan(3, SIZES)
    pd.testing.assert_frame_equal(sample_corpus.plan(3, SIZES), planned)
    assert not planned.sentence.equals(sample_corpus.plan(4, SIZES).sentence)
    few = sample_corpus.plan(0, SIZES)
    pd.testing.assert_frame_equal(few, many[many.name.isin(few.name)].reset_index(drop=True))  # whatever the size
    clip = next(few.itertuples())
    first, second, other = (sample_corpus.draw_clip(clip, seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert not (first[0] == other[0]).all()


def test_selected_parts_are_balanced_and_the_pool_is_not_and_shows_pairs_that_they_lack(many):
    shares = many.groupby("part").emotion.value_counts(normalize=True).unstack()
    assert shares.loc["training"].between(0.08, 0.23).all()
    assert shares.loc["unlabelled", "neutral"] > 0.27
    assert (set(shares), set(many.intent)) == (set(EMOTIONS), set(INTENTS))
    absent = many.emotion.isin(["happy", "neutral"]) & many.intent.isin(["neutral", "questioning"])
    assert set(many[absent].part) == {"unlabelled"}
    assert len(many[absent].groupby(["emotion", "intent"])) == 4


@pytest.mark.parametrize("modality", ["text", "face", "voice"])
def test_no_modality_always_shows_the_label(many, modality):
    assert all(0.3 < (many[f"{modality}_{task}"] == many[task]).mean() < 0.95 for task in ("emotion", "intent"))


def test_only_training_sentences_have_marks_and_some_are_empty(many):
    given = many[many.sentence != ""]
    marked = given.sentence.str.contains(f"[{MARKS}]")
    assert (marked == (given.part == "training")).all()
    assert many[many.sentence == ""].part.value_counts().to_dict() == {"training": 2, "unlabelled": 5}
    assert (many.punctuated.str.contains("？") == (many.text_intent == "questioning")).all()


def test_the_corpus_is_the_plan_in_the_official_layout(corpus):
    read = read_corpus(CorpusConfig(corpus), needs_media=True)
    planned = sample_corpus.plan(0, SIZES).sort_values("name", ignore_index=True)
    pd.testing.assert_frame_equal(read.clips[["name", "part", "sentence"]], planned[["name", "part", "sentence"]])
    is_labelled = planned.part.isin(["training", "validation"])
    for task in ("emotion", "intent"):
        assert read.clips[task].tolist() == planned[task].where(is_labelled, "").tolist()
    assert not any(remark.startswith("warning") for remark in read.remarks)
    assert "made-up" in (corpus / "README.txt").read_text()


def test_clips_hold_sight_and_sound_of_one_to_two_seconds(corpus):
    for path in (corpus / "Annotation/Testing").iterdir():
        assert 8 <= len(read_frames(path, fps=8, size=32)) <= 16
        assert 16_000 <= len(sound := read_audio(path)) < 34_000
        assert sound.std() > 0.001


def test_rerun_draws_only_what_is_missing(corpus):
    lost, kept, *_ = sorted(corpus.rglob("*.mp4"))
    before = lost.read_bytes()
    lost.unlink()
    kept.write_bytes(b"kept as it is")
    make_tiny(corpus)
    assert kept.read_bytes() == b"kept as it is"
    assert lost.read_bytes() == before
    kept.unlink()
    make_tiny(corpus)
    assert not list(corpus.rglob("*.part"))


def test_a_folder_with_other_files_or_another_sample_is_left_alone(corpus, tmp_path):
    with pytest.raises(ConfigError, match="delete it"):
        make_tiny(corpus, seed=1)
    (tmp_path / "precious.csv").write_text("name\n")
    with pytest.raises(ConfigError, match="holds other data"):
        make_tiny(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.csv"]
