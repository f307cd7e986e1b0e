"""What depends on what, and where each step's results lie.

Results lie in work/<run>/<step>/<fingerprint>, where the fingerprint is a hash of the settings and inputs that decide
them. So a step that was done with the same settings and inputs is found again, one with others is done anew, and
results of different settings cannot mix: they lie in different folders.
"""

import errno
import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import transformers

from meiju import files, folds, hub, log, members, punctuation, scores, transcription, tuning
from meiju.compute import WorkersLost
from meiju.config import Config, ConfigError, as_settings, parse_config
from meiju.corpus import Corpus, CorpusError, read_corpus
from meiju.devices import pick_device
from meiju.encoders import Encoder, make_encoder
from meiju.hub import MissingModel
from meiju.labels import TASKS

SCRIPTS = {
    "transcription": "01_transcribe.py",
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
FORMAT = 3


# What the system may refuse, and what helps.
_ROOM = "make room and give the same command again: it goes on where this one stopped"
_ACCESS = "make it writable, or name another folder with --home"
REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM)
REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _ACCESS)


class NotYet(RuntimeError):
    """An earlier step has not been done; the message names the script that does it."""


class Run:
    """A run's settings, its corpus, and the folders of its steps."""

    def __init__(self, config: Config, *, quiet: bool = False):
        """quiet: do not say of each step that it was done before."""
        self.config = config
        self._quiet = quiet
        self._decisions: dict[str, dict] = {}
        self.under_way = ExitStack()  # the lock and the log of the step that was begun

    @cached_property
    def corpus(self) -> Corpus:
        """The clips; reading them prints their warnings. Raises CorpusError with all their problems."""
        needs_media = any(encoder.source == "media" for encoder in self.encoders.values())
        corpus = read_corpus(self.config.corpus, needs_media=needs_media)
        for problem in corpus.warnings:
            print(problem, file=sys.stderr)
        return corpus

    @property
    def transcribes(self) -> bool:
        """Whether some clips' sentences come from speech recognition."""
        return self.config.speech.model != "none" and len(transcription.untranscribed(self.corpus.clips)) > 0

    def heard(self) -> pd.DataFrame:
        """The clips, with a transcribed sentence where they have none. Raises NotYet if they are not transcribed."""
        clips = self.corpus.clips
        return transcription.fill(clips, self.result("transcription")) if self.transcribes else clips

    @cached_property
    def encoders(self) -> dict[str, Encoder]:
        """An unfitted encoder by stream that needs no labels. Raises ConfigError with the problems of all of them."""
        made, problems, missing = {}, [], False
        for stream, name in self.config.encoders.items():
            try:
                if stream in self.config.tuned:
                    hub.locate(self.config.tuned[stream])  # to be fine-tuned once there are folds
                else:
                    made[stream] = make_encoder(name, self.config)
            except ConfigError as error:
                problems.append(str(error))
                missing = missing or isinstance(error, MissingModel)
        if missing:
            problems.append("or do without downloads: --streams text=tfidf-svd audio=logmel visual=pixels-pca")
        if problems:
            raise ConfigError("\n".join(problems))
        return made

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

    def begin(self, step: str) -> bool:
        """Whether a step is still to be done; if it was done with these settings and inputs, says so.

        Until it is finished, or broken off, its log is kept and its folder reserved. Raises Busy where another process
        is at it.
        """
        folder = self._marker(step).parent
        if not self._is_done(step):
            self.under_way.enter_context(files.reserved(folder))
            self.under_way.enter_context(log.kept(self.config.work / "log", step, as_settings(self.config)))
            files.sweep(folder)
        if self._is_done(step):  # perhaps by the process that was at it until now
            self.under_way.close()
            if not self._quiet:
                print(f"{step}: done before with these settings, see {folder}")
            return False
        return True

    def finish(self, step: str) -> None:
        """Mark a step as done, beside the settings that produced it."""
        settings = {"settings": as_settings(self.config), "decided by": self._decided_by(step)}
        files.write_json(self._marker(step), settings)
        self.under_way.close()

    def result(self, step: str) -> Path:
        """The folder of a finished step. Raises NotYet if it is not finished."""
        if not self._is_done(step):
            raise NotYet(self._remedy(self.folder(step), step))
        return self.folder(step)

    def data(self, pseudo: pd.DataFrame | None = None) -> members.Data:
        """What the members of a stage share, stage 2 if there are pseudo-labels. Raises NotYet without features."""
        self.result("features")
        # In the settings' order, which is that of the network's tokens.
        stores = {
            stream: self.tuned_folder(stream) if stream in self.config.tuned else self.stream_folder(stream)
            for stream in self.config.encoders
        }
        tuned = frozenset(self.config.tuned)
        start = self.result("stage1") if pseudo is not None and self.config.stage2.warm_start else None
        clips, labels = self.corpus.clips, self.corpus.labels
        return members.Data(clips, labels, self.folds, stores, pseudo=pseudo, tuned=tuned, start=start)

    def tuned_folder(self, stream: str) -> Path:
        """Where the networks and frames of a stream lie that is fine-tuned on labels, or will lie."""
        return self.config.work / "tuned" / f"{stream}-{files.digest(self._tuned_decided_by(stream))}"

    def store_folder(self, stream: str) -> Path:
        """A store of a stream; of those of a tuned: stream, which depend on the member, any one."""
        if stream in self.config.tuned:
            return tuning.store_of(self.tuned_folder(stream), (0,))
        return self.stream_folder(stream)

    def encoder_folder(self, stream: str) -> Path:
        """Where the fitted encoder of a stream lies."""
        return self.tuned_folder(stream) if stream in self.config.tuned else self.stream_folder(stream) / "encoder"

    def stages(self) -> list[scores.Stage]:
        """What the members of both stages say. Raises NotYet if they are not trained."""
        return [
            scores.read_stage(name, self.config, self.corpus, self.folds, self.result(step))
            for name, step in (("stage 1", "stage1"), ("stage 2", "stage2"))
        ]

    def _is_done(self, step: str) -> bool:
        marker = self._marker(step)
        if not marker.exists() or not all(path.exists() for path in self._products(step)):
            return False
        # What lies in submissions/<run> is replaced by other settings' results, so look whose they are.
        return files.read_json(marker).get("decided by") == self._decided_by(step)

    def _products(self, step: str) -> list[Path]:
        """Files that a step has to leave; where somebody deleted one, the step is not done, and makes that one anew."""
        folder, out = self.folder(step), self.config.submission_dir
        if step == "features":
            return [self.stream_folder(stream) / "meta.json" for stream in self.encoders]
        if step in ("stage1", "stage2"):
            return [folder / f"{member.stem}.npz" for member in members.plan(self.config, checks=step == "stage1")]
        return {
            "transcription": [folder / "transcription.csv"],
            "transcripts": [folder / "transcripts.csv"],
            "pseudo": [folder / "pseudo_labels.csv", folder / "gates.csv"],
            "submission": [out / "submission.zip"],
            "report": [out / "report.html"],
        }[step]

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

    def _transcription_decided_by(self) -> dict:
        names = transcription.untranscribed(self.corpus.clips).name
        speech = transcription.fingerprint(self.config.speech, list(names))
        return {"speech": speech, "media": self.corpus.media_fingerprint()}

    def _transcripts_decided_by(self) -> dict:
        config = self.config
        for path in config.punctuation_texts:
            if not path.is_file():
                raise ConfigError(f"--punctuation-texts: no file {path}")
        return {
            "sentences": self.corpus.fingerprint("name", "part", "sentence"),
            "transcription": files.digest(self._decided_by("transcription")) if self.transcribes else None,
            "restorer": punctuation.fingerprint(config),
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

    def _tuned_decided_by(self, stream: str) -> dict:
        return {
            "format": FORMAT,
            "seed": self.config.seed,
            "model": hub.identity(self.config.tuned[stream]),
            "transformers": transformers.__version__,
            "transcripts": files.digest(self._decided_by("transcripts")),
            "tune": as_settings(self.config.tune),
            **self._taught_by(),
        }

    def _taught_by(self) -> dict:
        """Folds and labels, and what the network runs on."""
        return {
            "folds": files.digest(self.folds.to_dict("list")),
            "labels": self.corpus.fingerprint("name", "part", *TASKS),
            "classes": {task: list(self.corpus.labels[task]) for task in TASKS},
            "device": pick_device(self.config.device).type,
        }

    def _stage1_decided_by(self) -> dict:
        # Head counts and seeds do not decide what one member learns: their members lie side by side.
        model, train = as_settings(self.config.model), as_settings(self.config.train)
        del model["heads"], train["seeds"]
        return {
            "features": files.digest(self._decided_by("features")),
            "tuned": {stream: self._tuned_decided_by(stream) for stream in self.config.tuned},
            "model": model,
            "train": train,
            **self._taught_by(),
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
        run = Run(parse_config(help_text(sys.modules[step.__module__].__doc__), kind=kind))
        with run.under_way:
            step(run)
    except (ConfigError, CorpusError, NotYet, WorkersLost, files.Busy, files.Damaged) as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        what = f"{error.strerror}: {error.filename or 'no file is named'}"
        raise SystemExit(f"error: {what}; {REMEDIES[error.errno]}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on where this one stopped") from None


def help_text(docstring: str) -> str:
    """A script's docstring with its Reads, Writes and Run as paragraphs, which is how they keep their own lines."""
    return re.sub(r"\n(Reads|Writes|Run) ", r"\n\n\1 ", docstring)
