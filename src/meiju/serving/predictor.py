"""A finished run, ready to say what any clip carries.

Clips take the same way as in training, rounding included: a test clip gets the probabilities that it has in the
submission. meiju.serving.bundle says what is read of the run, and how it is known to be whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import call
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju.config import ConfigError, require
from meiju.data.labels import TASKS
from meiju.evaluation import ensemble
from meiju.features import frame_store, media
from meiju.features.base import Clip, Encoder, NoFrames
from meiju.features.registry import make_encoder
from meiju.models.network import MemberNetwork
from meiju.serving import bundle
from meiju.text import punctuation, refine
from meiju.training import members, workers
from meiju.training.batches import Frames
from meiju.training.loop import predict
from meiju.utils import files
from meiju.utils.compute import map_in_workers, pick_device
from meiju.utils.hub import MissingModel

CHUNK = 32  # clips that are encoded and judged together
FEW = 8  # clips that are read before workers have started
FAR = 10  # a clip that is so many times as long as the longest that was learnt from is none of their kind


@dataclass(frozen=True)
class Prediction:
    """What a run says of one clip.

    clip: with its sentence as the text encoders read it; probabilities[task]: by label, in the order of the classes;
    none where nothing of the clip could be read. missing: why a stream of the run is not used, by stream; `streams` are
    the others. transcribed: whether the sentence is what speech recognition made of the clip's sound; notes: what
    there is to say of streams that are used, such as that some of the sound is damaged, and of the clip's `length`.
    """

    clip: Clip
    probabilities: dict[str, dict[str, float]]
    streams: tuple[str, ...]
    missing: dict[str, str]
    transcribed: bool = False
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Why there is no prediction, or "" where there is one."""
        reasons = "; ".join(f"{stream}: {reason}" for stream, reason in self.missing.items())
        return "" if self.streams else f"nothing to go by ({reasons})"


class Predictor:
    """A run's restorer, encoders and members, read from the folder of its model.json.

    n_jobs: worker processes that read clips where there are more than a few. Raises ConfigError where something of the
    run is missing, changed or of another version.
    """

    def __init__(self, folder: Path, *, device: str = "auto", n_jobs: int = 1):
        self.n_jobs = n_jobs
        self._run = run = bundle.read(folder)
        run.check()  # before any of it is opened
        self.device = pick_device(device)
        self.config = replace(run.config, device=self.device.type)
        self.labels, self.made_up = run.labels, run.made_up
        for model in sorted(set(run.models) - {self.config.speech.model}):  # that one may never be needed
            run.check_model(model)
        self.encoders: dict[str, Encoder] = {}
        self.unusable: dict[str, str] = {}  # reason by stream
        parts = run.parts
        self._restorer = punctuation.load_restorer(self.config, parts[bundle.TRANSCRIPTS].folder)
        for stream, name in self.config.encoders.items():
            try:
                self.encoders[stream] = make_encoder(name, self.config)
            except ConfigError as error:
                # Ready-made frames cover the corpus they were made of; elsewhere a clip can do without them.
                if not name.startswith("npy:"):
                    raise
                self.unusable[stream] = str(error)
            else:
                frame_store.load_fitted(self.encoders[stream], parts[bundle.encoder_part(stream)].folder)
        # What workers do with a clip, by stream; for the other streams there is nothing worth their time.
        self._readers = {stream: encoder.reader() for stream, encoder in self.encoders.items() if encoder.track}
        folder = parts[bundle.MEMBERS].folder
        self._members: dict[int, MemberNetwork] = {}  # by number of heads, stacked
        for heads in self.config.model.heads:
            chosen = [member for member in members.plan(self.config, calibration=False) if member.heads == heads]
            try:
                self._members[heads] = workers.load_network(folder, chosen, self.config.model, self.device)
            except files.Damaged as error:  # or of another shape than the settings say
                raise ConfigError(f"the weights in {folder} cannot be loaded: {error}") from None
        network = next(iter(self._members.values()))
        classes = {task: len(self.labels[task]) for task in TASKS}
        same = network.spec.classes == classes
        require(same, f"model.json lists {classes} labels, but its weights are of {network.spec.classes}")
        self._widths = network.spec.streams

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """What is likely of each clip, in order, from whatever of it can be read.

        Raises ConfigError where the run transcribed clips without a sentence, some of these have none, and the model
        cannot be used; and WorkersLost.
        """
        predictions = []
        jobs = [partial(reader, [clip]) for clip in clips for reader in self._readers.values()]
        n_jobs = 1 if len(clips) <= FEW else self.n_jobs
        bar = tqdm(total=len(clips), desc="predicting", unit="clip", disable=True if len(clips) == 1 else None)
        with closing(map_in_workers(call, jobs, n_jobs=n_jobs)) as read, bar:
            for k in range(0, len(clips), CHUNK):
                chunk = clips[k : k + CHUNK]
                predictions += self._predict(chunk, read)
                bar.update(len(chunk))
        return predictions

    @cached_property
    def _transcriber(self) -> Any:
        from meiju.text.transcription import Transcriber  # imports transformers, which takes a second or two

        self._run.check_model(self.config.speech.model)
        return Transcriber(self.config.speech, device=self.device)

    def _predict(self, clips: Sequence[Clip], read: Iterator) -> list[Prediction]:
        """read: what each reader makes of each clip, these ones next."""
        transcripts = self._transcribe(clips)
        given = [transcripts.get(k, clip.sentence) for k, clip in enumerate(clips)]
        refined = refine.as_read(self.config, self._restorer, given)
        clips = [replace(clip, sentence=sentence) for clip, sentence in zip(clips, refined, strict=True)]
        by_clip = [{stream: next(read)[0] for stream in self._readers} for _ in clips]
        encoded_by_stream = {stream: self._encode(stream, clips, by_clip) for stream in self._widths}
        predicted = self._vote(encoded_by_stream, len(clips))
        predictions = []
        for k, clip in enumerate(clips):
            of_clip = {stream: of_clips[k] for stream, of_clips in encoded_by_stream.items()}
            missing = {stream: reason for stream, (frames, reason) in of_clip.items() if len(frames) == 0}
            notes = {stream: note for stream, (frames, note) in of_clip.items() if len(frames) and note}
            longest = self._run.longest
            if longest and (seconds := media.length(clip.path)) > FAR * longest:
                known = f"the longest clip that was learnt from plays {longest:.1f}"
                notes["length"] = f"it plays {seconds:.0f} seconds, and {known}"
            used = tuple(stream for stream in of_clip if stream not in missing)
            # Where no stream of a clip could be read, the networks' guess at nothing is dropped.
            probabilities = {
                task: dict(zip(self.labels[task], predicted[task][k].tolist(), strict=True)) if used else {}
                for task in TASKS
            }
            predictions.append(Prediction(clip, probabilities, used, missing, bool(transcripts.get(k)), notes))
        return predictions

    def _transcribe(self, clips: Sequence[Clip]) -> dict[int, str]:
        """Transcripts of the clips without a sentence, by their number, where the run transcribed such."""
        silent = [k for k, clip in enumerate(clips) if clip.path and not clip.sentence.strip()]
        if not silent or self.config.speech.model == "none":
            return {}
        try:
            batches = list(self._transcriber.transcribe([(clips[k].name, clips[k].path) for k in silent]))
        except MissingModel as error:
            raise ConfigError(f"--speech.model of the run: {error}; or give each clip its sentence") from None
        sentences = [transcript.sentence for batch in batches for transcript in batch]
        return dict(zip(silent, sentences, strict=True))

    def _encode(self, stream: str, clips: Sequence[Clip], read: Sequence[dict[str, Any]]) -> list[frame_store.Checked]:
        """Frames as the feature store keeps them; read: what each clip's readers made of it."""
        if stream in self.unusable:
            encoded = [NoFrames(self.unusable[stream])] * len(clips)
        elif stream in self._readers:
            encoded = self.encoders[stream].finish([of_clip[stream] for of_clip in read])
        else:
            encoded = self.encoders[stream].encode(clips)
        return [frame_store.checked(frames, self._widths[stream]) for frames in encoded]

    def _vote(self, encoded_by_stream: dict[str, list[frame_store.Checked]], n_clips: int) -> ensemble.Probabilities:
        """The mean over folds and seeds, then over head counts, as for the submission."""
        names = [str(k) for k in range(n_clips)]  # clips' own may stand twice
        stores = {}
        for stream, of_clips in encoded_by_stream.items():
            lengths = np.array([len(frames) for frames, _ in of_clips])
            index = pd.DataFrame({"start": lengths.cumsum() - lengths, "stop": lengths.cumsum()}, pd.Index(names))
            stores[stream] = frame_store.Store(np.concatenate([frames for frames, _ in of_clips]), index, meta={})
        frames = Frames(stores, names, self.device)
        by_heads = []
        for heads, network in self._members.items():
            predicted = predict(network, frames, np.arange(n_clips))
            if not all(np.isfinite(predicted[task]).all() for task in TASKS):
                raise ConfigError(f"the run's weights for {heads} heads are damaged: they give no finite numbers")
            by_heads.append({task: np.exp(predicted[task].astype(np.float64)).mean(axis=0) for task in TASKS})
        return {task: np.mean([mean[task] for mean in by_heads], axis=0) for task in TASKS}
