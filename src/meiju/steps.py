"""What depends on what, and where each step's results lie.

Results lie in work/<run>/<step>/<fingerprint>, where the fingerprint is a hash of the settings and inputs that decide
them. So a step that was done with the same settings and inputs is found again, one with others is done anew, and
results of different settings cannot mix: they lie in different folders.
"""

import re
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from meiju import files, folds, members, scores
from meiju.config import Config, ConfigError, as_settings, parse_config
from meiju.corpus import Corpus, CorpusError, read_corpus
from meiju.encoders import Encoder, make_encoder
from meiju.labels import TASKS
from meiju.training import pick_device

SCRIPTS = {
    "transcripts": "02_refine_punctuation.py",
    "features": "03_extract_features.py",
    "folds": "04_make_folds.py",
    "stage1": "05_train_stage1.py",
    "pseudo": "06_pseudo_label.py",
    "stage2": "07_train_stage2.py",
    "submission": "08_ensemble.py",
    "report": "09_report.py",
}

# Raise it when results change for the same settings and inputs, so that older ones are not taken for them.
FORMAT = 1


class NotYet(RuntimeError):
    """An earlier step has not been done; the message names the script that does it."""


class Run:
    """A run's settings, its corpus, and the folders of its steps."""

    def __init__(self, config: Config, *, quiet: bool = False):
        """quiet: do not say of each step that it was done before."""
        self.config = config
        self._quiet = quiet
        self._decisions: dict[str, dict] = {}

    @cached_property
    def corpus(self) -> Corpus:
        """The clips; reading them prints their warnings. Raises CorpusError with all their problems."""
        needs_media = any(encoder.source == "media" for encoder in self.encoders.values())
        corpus = read_corpus(self.config.corpus, needs_media=needs_media)
        for problem in corpus.warnings:
            print(problem, file=sys.stderr)
        return corpus

    @cached_property
    def encoders(self) -> dict[str, Encoder]:
        """An unfitted encoder by stream."""
        return {stream: make_encoder(name, self.config) for stream, name in self.config.encoders.items()}

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Columns name, fold of the training clips."""
        path = self.config.folds_path
        if not path.exists():
            raise NotYet(self._remedy(path, "folds"))
        return folds.read(path, self.corpus.part("training"))

    def folder(self, step: str) -> Path:
        """Where the results of a step lie, or will lie."""
        return self.config.work / step / files.digest(self._decided_by(step))

    def variant(self, config: Config) -> "Run":
        """The run with other settings, on the same corpus and folds, which are not read again."""
        run = Run(config, quiet=True)
        run.__dict__ |= {"corpus": self.corpus, "folds": self.folds}  # where cached_property keeps them
        return run

    @cached_property
    def round_before(self) -> "Run | None":
        """The run whose second stage teaches this one's pseudo-labels, or None in the first round."""
        pseudo = self.config.pseudo
        if pseudo.rounds == 1:
            return None
        return self.variant(replace(self.config, pseudo=replace(pseudo, rounds=pseudo.rounds - 1)))

    def stream_folder(self, stream: str) -> Path:
        """Where the store of one stream lies, or will lie."""
        decided_by = self._decided_by("features")["streams"][stream]
        return self.config.work / "features" / f"{stream}-{files.digest(decided_by)}"

    def is_done(self, step: str) -> bool:
        """Whether a step was finished with these settings and inputs; if so, says so."""
        marker = self._marker(step)
        # What lies in submissions/<run> is replaced by other settings' results, so look whose they are.
        done = marker.exists() and files.read_json(marker)["decided by"] == self._decided_by(step)
        if done and not self._quiet:
            print(f"{step}: done before with these settings, see {marker.parent}")
        return done

    def finish(self, step: str) -> None:
        """Mark a step as done, beside the settings that produced it."""
        settings = {"settings": as_settings(self.config), "decided by": self._decided_by(step)}
        files.write_json(self._marker(step), settings)

    def result(self, step: str) -> Path:
        """The folder of a finished step. Raises NotYet if it is not finished."""
        if not self._marker(step).exists():
            raise NotYet(self._remedy(self.folder(step), step))
        return self.folder(step)

    def data(self, pseudo: pd.DataFrame | None = None) -> members.Data:
        """What the members of a stage share, stage 2 if there are pseudo-labels. Raises NotYet without features."""
        self.result("features")
        stores = {stream: self.stream_folder(stream) for stream in self.encoders}
        start = self.result("stage1") if pseudo is not None and self.config.stage2.warm_start else None
        return members.Data(self.corpus.clips, self.corpus.labels, self.folds, stores, pseudo, start)

    def stages(self) -> list[scores.Stage]:
        """What the members of both stages say. Raises NotYet if they are not trained."""
        return [
            scores.read_stage(name, self.config, self.corpus, self.folds, self.result(step))
            for name, step in (("stage 1", "stage1"), ("stage 2", "stage2"))
        ]

    def _marker(self, step: str) -> Path:
        """The file that says that a step is done, with the settings that produced its results.

        Members of all head counts and seeds lie side by side in stage 1, so its marker names those asked for.
        """
        if step in ("submission", "report"):
            return self.config.submission_dir / f"{step}.json"
        heads = "+".join(map(str, self.config.model.heads))
        name = f"done-heads{heads}-seeds{self.config.train.seeds}.json" if step == "stage1" else "done.json"
        return self.folder(step) / name

    def _remedy(self, path: Path, step: str) -> str:
        return f"there is no {path} for these settings; run scripts/{SCRIPTS[step]} first, with the same arguments"

    def _decided_by(self, step: str) -> dict:
        """Everything that decides a step's results; gathered once, as it may mean looking at every media file."""
        if step not in self._decisions:
            own = getattr(self, f"_{step}_decided_by")()
            self._decisions[step] = {"step": step, "format": FORMAT, "seed": self.config.seed, **own}
        return self._decisions[step]

    def _transcripts_decided_by(self) -> dict:
        config = self.config
        for path in config.punctuation_texts:
            if not path.is_file():
                raise ConfigError(f"--punctuation-texts: no file {path}")
        return {
            "sentences": self.corpus.fingerprint("name", "part", "sentence"),
            "punctuation": config.punctuation,
            "texts": [files.file_digest(path) for path in config.punctuation_texts],
        }

    def _stream_decided_by(self, stream: str) -> dict:
        encoder = self.encoders[stream]
        source = {
            "sentence": lambda: files.digest(self._decided_by("transcripts")),
            "media": self.corpus.media_fingerprint,
            "files": lambda: "in the encoder's fingerprint",
        }[encoder.source]()
        return {
            "format": FORMAT,
            "seed": self.config.seed,
            "clips": self.corpus.fingerprint("name", "part"),
            "encoder": encoder.fingerprint(),
            "source": source,
        }

    def _features_decided_by(self) -> dict:
        return {"streams": {stream: self._stream_decided_by(stream) for stream in self.encoders}}

    def _stage1_decided_by(self) -> dict:
        # Head counts and seeds do not decide what one member learns: their members lie side by side.
        model, train = as_settings(self.config.model), as_settings(self.config.train)
        del model["heads"], train["seeds"]
        return {
            "features": files.digest(self._decided_by("features")),
            "folds": files.digest(self.folds.to_dict("list")),
            "labels": self.corpus.fingerprint("name", "part", *TASKS),
            "classes": {task: list(self.corpus.labels[task]) for task in TASKS},
            "model": model,
            "train": train,
            "device": pick_device(self.config.device).type,
        }

    def _pseudo_decided_by(self) -> dict:
        decided_by = {"teachers": self._teachers(), "pseudo": as_settings(self.config.pseudo)}
        if self.round_before:
            decided_by["before"] = files.digest(self.round_before._decided_by("stage2"))
        return decided_by

    def _stage2_decided_by(self) -> dict:
        return {"pseudo": files.digest(self._decided_by("pseudo")), "stage2": as_settings(self.config.stage2)}

    def _submission_decided_by(self) -> dict:
        return {
            "stage2": files.digest(self._decided_by("stage2")),
            "ensemble": self.config.ensemble,
            "average": self.config.corpus.average,
        }

    def _report_decided_by(self) -> dict:
        return {"submission": files.digest(self._decided_by("submission"))}

    def _teachers(self) -> dict:
        members = {"heads": list(self.config.model.heads), "seeds": self.config.train.seeds}
        return {"stage1": files.digest(self._decided_by("stage1")), **members}


def main(step, kind: type[Config] = Config) -> None:
    """Run one numbered script: `step(Run)`, with its module's docstring as help and plain words for bad input.

    kind: the class of its settings.
    """
    try:
        config = parse_config(_help(sys.modules[step.__module__].__doc__), kind=kind)
        step(Run(config))
    except (ConfigError, CorpusError, NotYet) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on where this one stopped") from None


def _help(docstring: str) -> str:
    """A script's docstring with its Reads, Writes and Run as paragraphs, which is how they keep their own lines."""
    return re.sub(r"\n(Reads|Writes|Run) ", r"\n\n\1 ", docstring)
