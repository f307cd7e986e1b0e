"""A run: where the results of each step are, and whether they are there.

Results are in work/<run>/<step>/<fingerprint>. The fingerprint is a hash of the settings, the inputs and the code that
decide them. So a step that was done with the same settings is skipped, a step with other settings is done again, and
results of different settings are never mixed. What takes longest is shared by all runs (see meiju.stores). Submission
and report are in submissions/<run>, which holds the results of one set of settings: others replace them all together.
"""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import TextIO

import pandas as pd

from meiju import stores
from meiju.config import EMBEDDED_STREAMS, SCRIPTS, Config, ConfigError, as_settings
from meiju.data import folds
from meiju.data.corpus import Corpus, rare_classes, read_corpus
from meiju.features.base import Clip, Encoder
from meiju.features.registry import make_encoder
from meiju.steps import STEPS, what_decides
from meiju.utils import files, log, spreadsheets
from meiju.utils.hub import MissingModel

KNOWN_FILES = "known-files.json"  # hashes of what was read, so that it is read once
READING_STEPS = ("transcription", "transcripts", "features")  # those that need the clips
ENTRY_DEPTH = 5  # of work/<run>/<step>/<fingerprint>/<entry>, a file or folder; submissions/<run>/<file> is no deeper


class NotYet(RuntimeError):
    """An earlier step has not been done; the message names the script that does it."""


class Run:
    """A run's settings, its corpus, and the folders of its steps."""

    def __init__(
        self, config: Config, *, quiet: bool = False, corpus: Corpus | None = None, folds: pd.DataFrame | None = None
    ):
        """quiet: do not print that a step was done before. corpus, folds: if they were read already."""
        self.config = config
        self._quiet, self._corpus, self._folds = quiet, corpus, folds
        self._keys: dict[str, dict] = {}
        self.under_way = ExitStack()  # the lock and the log of the step that was begun

    @property
    def corpus(self) -> Corpus:
        """The clips; reading them prints what there is and their warnings. Raises ConfigError with all problems."""
        if self._corpus is None:
            needs_media = any(encoder.source == "media" for encoder in self.encoders.values())
            self._corpus = read_corpus(self.config.corpus, needs_media=needs_media)
            _print_once("\n".join([*self._corpus.remarks, *rare_classes(self._corpus, self.config.folds)]), sys.stderr)
            if not self._quiet:
                _print_once(self._corpus.describe(), sys.stdout)
        return self._corpus

    @property
    def folds(self) -> pd.DataFrame:
        """Columns name, fold of the training clips."""
        if self._folds is None:
            path = self.config.folds_path
            if not path.exists():
                raise NotYet(f"there is no {path}; run {SCRIPTS}/04_make_folds.py first, with the same arguments")
            self._folds = folds.read(path, self.corpus.part("training"), n_folds=self.config.folds)
        return self._folds

    def variant(self, config: Config) -> "Run":
        """The run with other settings, on the same corpus and folds, which are not read again."""
        return Run(config, quiet=True, corpus=self.corpus, folds=self.folds)

    @cached_property
    def media(self) -> dict[str, str]:
        """By clip name, a hash of its media file."""
        return self.corpus.media_hashes(self.config.shared / KNOWN_FILES)

    @property
    def untranscribed(self) -> pd.DataFrame:
        """The clips that have a media file and no sentence, in any part."""
        clips = self.corpus.clips
        return clips[(clips.sentence.str.strip() == "") & (clips.path != "")]

    @property
    def transcribes(self) -> bool:
        """Whether some clips' sentences come from speech recognition."""
        return self.config.speech.model != "none" and len(self.untranscribed) > 0

    def transcribed(self) -> pd.DataFrame:
        """The clips, with a transcribed sentence where they have none. Raises NotYet if they are not transcribed."""
        if not self.transcribes:
            return self.corpus.clips
        from meiju.text import transcription  # imports transformers, which takes a second

        self.result("transcription")
        return transcription.fill(self.corpus.clips, self.transcription_folder)

    @cached_property
    def encoders(self) -> dict[str, Encoder]:
        """An unfitted encoder by stream. Raises ConfigError with the problems of all of them."""
        made, problems, missing = {}, [], False
        for stream, name in self.config.encoders.items():
            try:
                made[stream] = make_encoder(name, self.config)
            except ConfigError as error:
                problems.append(str(error))
                missing = missing or isinstance(error, MissingModel)
        if missing:
            without = f"--streams {' '.join(EMBEDDED_STREAMS)} --speech.model none --punctuation crf"
            problems.append(f"or do without downloads: {without}")
        if problems:
            raise ConfigError("\n".join(problems))
        return made

    def require_material(self) -> None:
        """Raise ConfigError where no clip of a part that is learnt from or scored has what a stream reads."""
        lacking: dict[str, list[str]] = defaultdict(list)
        for part in ("training", "validation", "testing"):
            clips = [Clip(*row) for row in self.corpus.part(part)[["name", "sentence", "path"]].itertuples(index=False)]
            for stream, encoder in self.encoders.items() if clips else ():
                lack = "" if encoder.source == "sentence" and self.transcribes else encoder.missing_input(clips)
                if lack:
                    lacking[stream].append(f"no {part} clip {lack}")
        if lacking:
            left = [f"{stream}={name}" for stream, name in self.config.encoders.items() if stream not in lacking]
            remedy = f"leave it out with --streams {' '.join(left)}" if left else "there is nothing to learn from"
            problems = [f"--streams: {stream} has nothing to read: {', '.join(why)}" for stream, why in lacking.items()]
            raise ConfigError("\n".join([*problems, remedy]))

    def folder(self, step: str) -> Path:
        """Where the results of a step lie, or will lie."""
        if STEPS[step].published:
            return self.config.submission_dir
        return self.config.work / step / files.digest(self.cache_key(step))

    def stream_folder(self, stream: str) -> Path:
        """Where the store of one stream lies, or will lie."""
        cache_key = self.cache_key("features")["streams"][stream]
        return self.config.shared / stores.name_of("features", cache_key, stream)

    @property
    def transcription_folder(self) -> Path:
        """Where the transcription lies, or will lie."""
        return self.config.shared / stores.name_of("transcription", self.cache_key("transcription"))

    @property
    def ablation_folder(self) -> Path:
        """Where the ablation of a run with these settings lies, or will lie."""
        return self.config.submission_dir / f"ablation-{self.folder('stage2').name}"

    @property
    def stores(self) -> dict[str, Path]:
        """Where the store of each stream lies, in the order of the network's tokens. Raises NotYet without them."""
        self.result("features")
        return {stream: self.stream_folder(stream) for stream in self.config.encoders}

    def contents(self, encoder: Encoder) -> dict[str, str]:
        """By clip name, a hash of the file that an encoder of media or of ready-made frames reads."""
        return self.media if encoder.source == "media" else encoder.contents(self.config.shared / KNOWN_FILES)

    def clip_inputs(self, encoder: Encoder, clips: Sequence[Clip]) -> dict[str, str]:
        """By clip name, a hash of what an encoder reads of it."""
        if encoder.source == "sentence":
            return {clip.name: files.digest(clip.sentence) for clip in clips}
        known = self.contents(encoder)
        return {clip.name: known.get(clip.name, "") for clip in clips}

    def needs_run(self, step: str) -> bool:
        """Whether a step is still to be done; if it was done with these settings, inputs and code, prints so.

        Until the step ends, its log is written and its folder is locked. What is left of damaged results is removed,
        and so are results of other settings in submissions/<run>. Raises Busy if another process runs the step.
        """
        folder = self.folder(step)
        if self._lost(step) != []:
            if step in READING_STEPS:
                self.require_material()
            self.under_way.enter_context(files.reserved(folder))
            self.under_way.enter_context(log.kept(self.config.work / "log", step, as_settings(self.config)))
        lost = self._lost(step)  # again: perhaps another process was at it until now
        if lost == []:
            self.under_way.close()
            if not self._quiet:
                print(f"{step}: done before with these settings, see {folder}")
            return False
        if lost:
            self._remove(step, lost, f"{lost[0]} missing or truncated: computed again")
        elif STEPS[step].published:  # with those that depend on it
            for name in list(STEPS)[list(STEPS).index(step) :]:
                marker = self._marker(name)
                if marker.exists():
                    why = f"replaces that of other settings or code in {marker.parent} (--run NAME keeps both)"
                    self._remove(name, self._products(marker), why)
        else:
            others = list(folder.parent.glob(f"*/{self._marker(step).name}"))
            if others and not self._quiet:
                what = f"{len(others)} results of other settings, inputs or code are not used"
                print(f"{step}: {what}, see {folder.parent}")
            files.write_json(folder / stores.BEGUN, self._record(step))
        return True

    def finish(self, step: str, products: Iterable[Path]) -> None:
        """Mark a step as done, with the sizes of the files that later steps or people read: these show what is lost."""
        sizes = {path.relative_to(self.config.home.absolute()).as_posix(): path.stat().st_size for path in products}
        files.write_json(self._marker(step), self._record(step) | {"files": sizes})
        self.under_way.close()

    def result(self, step: str) -> Path:
        """The folder of a finished step. Raises NotYet if it is not finished, or has lost a file."""
        lost = self._lost(step)
        if lost == []:
            return self.folder(step)
        script = STEPS[step].script
        why = f"{lost[0]} is missing or truncated" if lost else f"{script} has not been run with these settings"
        raise NotYet(f"{why}; run {SCRIPTS}/{script} with the same arguments")

    def cache_key(self, step: str) -> dict:
        """Everything that decides a step's results; gathered once, as it may mean reading every media file."""
        if step not in self._keys:
            self._keys[step] = what_decides(self, step)
        return self._keys[step]

    def _record(self, step: str) -> dict:
        return {"settings": as_settings(self.config), "cache key": self.cache_key(step)}

    def _marker(self, step: str) -> Path:
        """The file that marks a step as done, with the settings that produced its results."""
        if STEPS[step].published:
            return self.config.submission_dir / f"{step}.json"
        if step != "stage1":
            return self.folder(step) / "done.json"
        # Members of all head counts and seeds lie side by side, so the marker names those asked for.
        heads = "+".join(map(str, self.config.model.heads))
        return self.folder(step) / f"done-heads{heads}-seeds{self.config.train.seeds}.json"

    def _products(self, marker: Path) -> dict[Path, int]:
        """The files of a finished step, with their sizes."""
        with files.reading(marker):
            return {self.config.home.absolute() / p: int(size) for p, size in files.read_json(marker)["files"].items()}

    def _lost(self, step: str) -> list[Path] | None:
        """Files of a finished step that are gone or have another size; None if these settings never finished it."""
        marker = self._marker(step)
        done = files.read_json(marker) if marker.exists() else {}
        if done.get("cache key") != self.cache_key(step):  # in submissions/<run>, that of other settings
            return None
        return [path for path, n in self._products(marker).items() if not path.exists() or path.stat().st_size != n]

    def _remove(self, step: str, paths: Iterable[Path], why: str) -> None:
        """Remove files of a step, the folders that they belong to, and its marker, so that it is to be done again."""
        home = self.config.home.absolute()
        entries = {home.joinpath(*path.relative_to(home).parts[:ENTRY_DEPTH]) for path in paths}
        with ExitStack() as locks:
            for store in sorted({entry.parent for entry in entries if self.config.shared in entry.parents}):
                locks.enter_context(files.reserved(store))  # another run may be making it
            print(f"{step}: {why}")
            for entry in entries:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        self._marker(step).unlink()


@cache
def _print_once(text: str, stream: TextIO) -> None:
    """Print lines, once a process: run_all carries out all steps in one, and each reads the corpus."""
    if text:
        print(*map(spreadsheets.one_line, text.splitlines()), sep="\n", file=stream)
