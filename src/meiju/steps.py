"""The numbered steps, and what decides the results of each: its cache key.

A cache key holds the settings, the inputs and the code that decide a step's results; its hash names their folder.
"""

from typing import TYPE_CHECKING, NamedTuple

from meiju.config import ConfigError, as_settings
from meiju.data.corpus import UNSCORED_PARTS
from meiju.data.labels import TASKS
from meiju.data.tables import GROUPS
from meiju.text import punctuation
from meiju.utils import files, provenance
from meiju.utils.compute import device_type

if TYPE_CHECKING:
    from meiju.run import Run


class Step(NamedTuple):
    """One numbered script: its file, and the function or module that does its work.

    published: its results lie in submissions/<run>; those of the others in a folder of their own in work/<run>.
    """

    script: str
    code: str
    published: bool = False


STEPS = {  # each after those that it depends on
    "transcription": Step("01_transcribe.py", "pipeline:transcribe"),
    "transcripts": Step("02_refine_punctuation.py", "pipeline:refine_transcripts"),
    "features": Step("03_extract_features.py", "pipeline:extract_features"),
    "stage1": Step("05_train_stage1.py", "pipeline:train_stage1"),
    "pseudo": Step("06_pseudo_label.py", "pipeline:label_pool"),
    "stage2": Step("07_train_stage2.py", "pipeline:train_stage2"),
    "submission": Step("08_ensemble.py", "pipeline:make_submission", published=True),
    "report": Step("09_report.py", "report.build", published=True),
}


def what_decides(run: "Run", step: str) -> dict:
    """The cache key of a step; see `Run.cache_key`, which keeps it."""
    code = provenance.code_of(f"meiju.{STEPS[step].code}")
    return {"step": step, "seed": run.config.seed, "code": code, **_settings_and_inputs(run, step)}


def _settings_and_inputs(run: "Run", step: str) -> dict:
    config = run.config
    match step:
        case "transcription":
            from meiju.text import transcription  # imports transformers, which takes a second

            speech = transcription.fingerprint(config.speech)  # refuses a missing model before all clips are read
            return {"speech": speech, "media": files.digest({name: run.media[name] for name in run.untranscribed.name})}
        case "transcripts":
            for path in config.punctuation_texts:
                if not path.is_file():
                    raise ConfigError(f"--punctuation-texts: no file {path}")
            fill = provenance.code_of("meiju.text.transcription:fill")
            return {
                "learns from": list(UNSCORED_PARTS),
                "sentences": run.corpus.fingerprint("name", "part", "sentence"),
                "transcription": run.cache_key("transcription") if run.transcribes else None,
                "filled in": {"code": fill} if run.transcribes else None,
                "restorer": punctuation.fingerprint(config),
                "texts": [files.file_digest(path) for path in config.punctuation_texts],
            }
        case "features":
            streams, clips = {}, run.corpus.fingerprint("name", "part")
            for stream, encoder in run.encoders.items():
                of_text = encoder.source == "sentence"
                source = run.cache_key("transcripts") if of_text else files.digest(run.contents(encoder))
                streams[stream] = {**encoder_key(run, stream), "clips": clips, "source": source}
            return {"streams": streams}
        case "stage1":
            # Head counts and seeds do not decide what one member learns: their members lie side by side.
            model, train = as_settings(config.model), as_settings(config.train)
            del model["heads"], train["seeds"]
            return {
                "features": run.cache_key("features"),
                "streams in order": list(config.encoders),  # that of the network's tokens
                "model": model,
                "train": train,
                "folds": files.digest(run.folds.to_dict("list")),
                "labels": run.corpus.fingerprint("name", "part", *TASKS),
                "classes": {task: list(run.corpus.labels[task]) for task in TASKS},
                "device": device_type(config.device),
            }
        case "pseudo":
            members = {"heads": list(config.model.heads), "seeds": config.train.seeds}
            return {"stage1": run.cache_key("stage1"), **members, "pseudo": as_settings(config.pseudo)}
        case "stage2":
            return {"pseudo": run.cache_key("pseudo"), "stage2": as_settings(config.stage2)}
        case "submission":
            chosen = {"submit": config.submit, "average": config.corpus.average}
            # What intervals are over.
            alike = {"folds by": config.folds_by, "groups": run.corpus.fingerprint("name", *GROUPS)}
            return {"stage2": run.cache_key("stage2"), **chosen, **alike}
        case "report":
            ablation = run.ablation_folder / "ablation.csv"
            known = files.file_digest(ablation) if ablation.exists() else None
            template = files.file_digest(provenance.PACKAGE / "report" / "templates" / "report.html")
            return {"submission": run.cache_key("submission"), "ablation": known, "template": template}


def encoder_key(run: "Run", stream: str) -> dict:
    """What decides the frames of a stream, besides the clips."""
    encoder = run.encoders[stream]
    return {
        "seed": run.config.seed,
        "code": provenance.code_of("meiju.features.frame_store", type(encoder).__module__),
        "learns from": list(UNSCORED_PARTS),
        "encoder": encoder.fingerprint(),
    }
