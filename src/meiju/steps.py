"""The numbered steps, and what decides the results of each: its cache key.

A cache key holds the settings, the inputs and the code that decide a step's results; its hash names their folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meiju.config import ConfigError, as_settings
from meiju.data.corpus import UNSCORED_PARTS
from meiju.data.labels import TASKS
from meiju.data.tables import GROUPS
from meiju.text import punctuation
from meiju.utils import files, provenance
from meiju.utils.compute import device_type

if TYPE_CHECKING:
    from meiju.run import Run


def _transcription_key(run: "Run") -> dict:
    from meiju.text import transcription  # imports transformers, which takes a second

    names = list(run.untranscribed.name)
    speech = transcription.fingerprint(run.config.speech)
    return {"speech": speech, "media": files.digest({name: run.media[name] for name in names})}


def _transcripts_key(run: "Run") -> dict:
    config = run.config
    for path in config.punctuation_texts:
        if not path.is_file():
            raise ConfigError(f"--punctuation-texts: no file {path}")
    return {
        "learns from": list(UNSCORED_PARTS),
        "sentences": run.corpus.fingerprint("name", "part", "sentence"),
        "transcription": run.cache_key("transcription") if run.transcribes else None,
        "filled in": {"code": provenance.code_of("meiju.text.transcription:fill")} if run.transcribes else None,
        "restorer": punctuation.fingerprint(config),
        "texts": [files.file_digest(path) for path in config.punctuation_texts],
    }


def _features_key(run: "Run") -> dict:
    streams, clips = {}, run.corpus.fingerprint("name", "part")
    for stream, encoder in run.encoders.items():
        source = run.cache_key("transcripts") if encoder.source == "sentence" else files.digest(run.contents(encoder))
        streams[stream] = {**encoder_key(run, stream), "clips": clips, "source": source}
    return {"streams": streams}


def encoder_key(run: "Run", stream: str) -> dict:
    """What decides the frames of a stream, besides the clips."""
    encoder = run.encoders[stream]
    return {
        "seed": run.config.seed,
        "code": provenance.code_of("meiju.features.frame_store", type(encoder).__module__),
        "learns from": list(UNSCORED_PARTS),
        "encoder": encoder.fingerprint(),
    }


def _stage1_key(run: "Run") -> dict:
    # Head counts and seeds do not decide what one member learns: their members lie side by side.
    model, train = as_settings(run.config.model), as_settings(run.config.train)
    del model["heads"], train["seeds"]
    return {
        "features": run.cache_key("features"),
        "streams in order": list(run.config.encoders),  # that of the network's tokens
        "model": model,
        "train": train,
        "folds": files.digest(run.folds.to_dict("list")),
        "labels": run.corpus.fingerprint("name", "part", *TASKS),
        "classes": {task: list(run.corpus.labels[task]) for task in TASKS},
        "device": device_type(run.config.device),
    }


def _pseudo_key(run: "Run") -> dict:
    members = {"heads": list(run.config.model.heads), "seeds": run.config.train.seeds}
    return {"stage1": run.cache_key("stage1"), **members, "pseudo": as_settings(run.config.pseudo)}


def _stage2_key(run: "Run") -> dict:
    return {"pseudo": run.cache_key("pseudo"), "stage2": as_settings(run.config.stage2)}


def _submission_key(run: "Run") -> dict:
    config = run.config
    chosen = {"submit": config.submit, "average": config.corpus.average}
    alike = {"folds by": config.folds_by, "groups": run.corpus.fingerprint("name", *GROUPS)}  # decides intervals
    return {"stage2": run.cache_key("stage2"), **chosen, **alike}


def _report_key(run: "Run") -> dict:
    ablation = run.ablation_folder / "ablation.csv"
    known = files.file_digest(ablation) if ablation.exists() else None
    return {"submission": run.cache_key("submission"), "ablation": known}


@dataclass(frozen=True)
class Step:
    """One numbered script: its file, the function or module that does its work, and what else decides its results.

    published: its results lie in submissions/<run>; those of the others in a folder of their own in work/<run>.
    """

    script: str
    code: str
    cache_key: Callable[["Run"], dict]
    published: bool = False


STEPS = {  # each after those that it depends on
    "transcription": Step("01_transcribe.py", "pipeline:transcribe", _transcription_key),
    "transcripts": Step("02_refine_punctuation.py", "pipeline:refine_transcripts", _transcripts_key),
    "features": Step("03_extract_features.py", "pipeline:extract_features", _features_key),
    "stage1": Step("05_train_stage1.py", "pipeline:train_stage1", _stage1_key),
    "pseudo": Step("06_pseudo_label.py", "pipeline:label_pool", _pseudo_key),
    "stage2": Step("07_train_stage2.py", "pipeline:train_stage2", _stage2_key),
    "submission": Step("08_ensemble.py", "pipeline:make_submission", _submission_key, published=True),
    "report": Step("09_report.py", "report.build", _report_key, published=True),
}
