import json
from pathlib import Path

import pytest

from meiju.cli import parse_config
from meiju.config import Config, ConfigError, TrainConfig, as_settings, from_settings
from meiju.presets import PRESETS, SAMPLE_ROOT


def parse(*arguments: str) -> Config:
    return parse_config("What it does.", list(arguments))


def refusal(capsys, *arguments: str) -> str:
    """What is printed where arguments are refused, be it by an exit or a ConfigError."""
    with pytest.raises((SystemExit, ConfigError)) as caught:
        parse(*arguments)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code not in (0, None)
    output = capsys.readouterr()
    return f"{output.out}{output.err}{caught.value}"


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_without_flags_is_the_preset(preset):
    config = parse(preset)
    assert config == PRESETS[preset][1]
    assert config.run == preset


def test_challenge_presets_score_as_their_track_does():
    for language in ("mandarin", "english"):
        assert PRESETS[f"track1-{language}"][1].corpus.average == "weighted"
        assert PRESETS[f"track2-{language}"][1].corpus.average == "micro"


def test_flags_override_the_preset_and_nothing_else():
    config = parse(
        *("track2-english", "--run", "mine", "--train.lr", "0.01", "--model.heads", "2", "4", "--stage2.ratio", "1.5"),
        *("--corpus.root", "some/where", "--streams", "t=tfidf-svd", "a=npy:/x=y", "--text.ngrams", "2", "3"),
    )
    assert (config.run, config.train.lr, config.model.heads, config.stage2.ratio) == ("mine", 0.01, (2, 4), 1.5)
    assert config.corpus.root == Path("some/where")
    assert config.encoders == {"t": "tfidf-svd", "a": "npy:/x=y"}
    assert config.text.ngrams == (2, 3)
    assert config.corpus.average == "micro"
    assert config.pseudo.threshold == 0.99
    assert config.train.epochs == PRESETS["track2-english"][1].train.epochs
    assert parse("sample").corpus.root == SAMPLE_ROOT
    assert parse("custom").corpus.labels == "training-file"
    assert parse("sample", "--jobs", "3").n_jobs == 3
    assert parse("sample", "--jobs", "0").n_jobs >= 1


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--no-such-flag", ["1"]),
        ("--train.lr", ["0"]),
        ("--train.lr", ["fast"]),
        ("--train.average-epochs", ["17"]),
        ("--train.label-smoothing", ["1"]),
        ("--train.class-weights", ["1.5"]),
        ("--model.heads", ["3"]),
        ("--model.heads", ["2", "2"]),
        ("--text.ngrams", ["3", "2"]),
        ("--visual.fps", ["0"]),
        ("--pseudo.threshold", ["1.01"]),
        ("--stage2.ratio", ["0"]),
        ("--corpus.average", ["macro"]),
        ("--speech.language", ["<|zh|>"]),
        ("--speech.model", [""]),
        ("--punctuation", ["bert"]),
        ("--folds", ["2"]),
        ("--variants", []),
        ("--jobs", ["-1"]),
        ("--streams", []),
        ("--streams", ["../t=smart-turn"]),
        ("--streams", ["t=smart-turn", "t=tfidf-svd"]),
    ],
)
def test_bad_values_are_refused_by_the_flags_name(capsys, flag, values):
    assert flag in refusal(capsys, "custom", flag, *values)


@pytest.mark.parametrize("run", ["../x", ".", "", "a/b", "a\\b", "_shared", "a\n", "x" * 101])
def test_run_names_cannot_escape(run):
    with pytest.raises(ConfigError, match="--run"):
        Config(run)


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_read_back_as_the_same_configuration(preset):
    flags = "--corpus.root a/b --pseudo.threshold 0.9 --punctuation-texts c.txt d.txt --text.ngrams 2 3"
    config = parse(preset, *flags.split(), "--streams", "t=tfidf-svd", "a=npy:/x=y")
    assert from_settings(json.loads(json.dumps(as_settings(config)))) == config


def test_settings_that_are_not_named_have_their_defaults():
    assert from_settings({"run": "r", "train": {"lr": 0.5}}) == Config("r", train=TrainConfig(lr=0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 1}, "magic"),
        ({"run": None}, "setting run"),
        ({"folds": "5"}, "setting folds cannot be '5'"),
        ({"device": "tpu"}, "setting device cannot be 'tpu': Input should be 'auto'"),
        ({"train": {"lr": "high"}}, "setting train.lr cannot be 'high'"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_settings({"run": "sample"} | changes)
