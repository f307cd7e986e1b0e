"""Speech to text for clips without a sentence, by a pretrained model of transformers.

Any model of its automatic-speech-recognition pipeline will do: Whisper (Radford et al. 2023, arXiv 2212.04356), or one
with a CTC head (wav2vec2, HuBERT). Clips are transcribed in batches where the model pads all sound to one window
anyway; elsewhere one by one, because padding would change the transcript. A transcription that was cut off goes on
after the last whole batch, with the same result.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import opencc
import pandas as pd
import torch
import transformers
from scipy.signal import butter, sosfilt
from tqdm import tqdm

from meiju.config import ConfigError, SpeechConfig
from meiju.features import media
from meiju.features.base import Clip, NoFrames, Noted, read_media
from meiju.utils import files, hub

SHORTEST = 0.1  # seconds; no word is shorter, and convolutions fail on a few samples
SILENCE = -55.0  # dB of full scale; where nothing is louder, there are no words, and Whisper makes some up
SILENT = "the sound is silent"
LOWEST = 100  # Hz; below it lie a constant part and hum of the mains, and little of any voice
FRAME = 0.025  # seconds over which a level is taken
REPEATS = 10  # times that a piece of text follows itself only where a model has lost its way
# What Whisper takes for the text before, by language. Without punctuation there, it leaves out punctuation.
PROMPTS = {"zh": "以下是普通话的句子，有标点。"}
REPETITION = re.compile(rf"(.{{1,20}}?)\1{{{REPEATS - 1},}}")
CHUNK = 30  # seconds that a model without a window of its own reads at once
PIECE, EDGE = 300, 10  # seconds of a film that are in memory at once, and in the last of which it is cut where quiet


class Transcript(NamedTuple):
    """What was said in a clip; where there is no sentence, the reason."""

    name: str
    sentence: str
    reason: str


def fingerprint(speech: SpeechConfig) -> dict:
    """What decides a transcription besides the clips' media. Raises MissingModel."""
    try:
        model = hub.identity(speech.model)
    except hub.MissingModel as error:
        remedy = "or leave the clips without a sentence alone with --speech.model none"
        raise hub.MissingModel(f"--speech.model: {error}; {remedy}") from None
    settings = {"language": speech.language, "prompt": prompt_of(speech)}
    settings |= {"simplified": opencc.__version__} if _simplifies(speech) else {}
    return {"model": model, **settings, "transformers": transformers.__version__}


def transcribe(
    speech: SpeechConfig,
    clips: pd.DataFrame,
    folder: Path,
    *,
    device: torch.device,
    meta: dict | None = None,
    inputs: Mapping[str, str] | None = None,
    earlier: Sequence[Path] = (),
) -> pd.DataFrame:
    """Transcribe all `clips` (columns name, path) and write transcription.csv: name, sentence, reason, input.

    inputs: by name, a hash of the clip's media. meta is kept in meta.json, and names whatever else decides what is
    transcribed. Clips that an earlier, interrupted call has transcribed are not transcribed again, nor those that a
    transcription in one of the folders `earlier` knows by their hash, where its meta is the same.
    Raises MissingModel, and ConfigError for a language that the model does not know.
    """
    inputs, meta = inputs or {}, meta or {}
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "transcribed.jsonl"
    transcribed = {one.name: one for one in (*_transcribed_before(earlier, inputs, meta), *_read_progress(progress))}
    todo = clips[~clips.name.isin(transcribed)]
    if len(todo):
        transcriber = Transcriber(speech, device=device)
        n_before = len(clips) - len(todo)
        with (
            progress.open("a", encoding="utf-8") as file,
            tqdm(total=len(clips), initial=n_before, desc="transcription", unit="clip", disable=None) as bar,
        ):
            for batch in transcriber.transcribe(list(todo[["name", "path"]].itertuples(index=False))):
                # One line a batch: half a line, left by a killed process, is passed over, and the batch done again.
                file.write("\n" + json.dumps(batch, ensure_ascii=False))
                file.flush()
                transcribed |= {one.name: one for one in batch}
                bar.update(len(batch))
    rows = [(*transcribed[name], inputs.get(name, "")) for name in clips.name]
    table = pd.DataFrame(rows, columns=["name", "sentence", "reason", "input"])
    files.write_text(folder / "transcription.csv", table.to_csv(index=False))
    files.write_json(folder / "meta.json", meta)
    return table


def _transcribed_before(folders: Sequence[Path], inputs: Mapping[str, str], meta: dict) -> Iterator[Transcript]:
    """What transcriptions with the same meta in these folders say of clips whose media are the same."""
    for folder in folders:
        path = folder / "transcription.csv"
        with suppress(files.Damaged, FileNotFoundError):
            if files.read_json(folder / "meta.json") != meta:
                continue
            with files.reading(path):
                table = pd.read_csv(path, dtype=str, keep_default_na=False)
                same = table[table.name.map(inputs) == table.input]
                yield from (Transcript(*row) for row in same[["name", "sentence", "reason"]].itertuples(index=False))


def fill(clips: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The clips with the sentences that `transcribe` wrote to `folder` where they have none of their own."""
    path = folder / "transcription.csv"
    with files.reading(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[["name", "sentence"]].set_index("name")
        transcribed = clips.name.map(table.sentence).fillna("")  # refuses a clip that stands twice
    return clips.assign(sentence=clips.sentence.where(clips.sentence.str.strip() != "", transcribed))


def describe(table: pd.DataFrame) -> str:
    """How many clips were transcribed, and why the others were not."""
    reasons = table.reason[table.reason != ""].value_counts()
    head = f"transcription: {len(table) - reasons.sum()} of {len(table)} clips without a sentence got one"
    return "\n".join([head, *(f"  {count} without: {reason}" for reason, count in reasons.items())])


class Transcriber:
    """A speech recognition model, ready to transcribe clips."""

    def __init__(self, speech: SpeechConfig, *, device: torch.device):
        self.speech = speech
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.pipe = self._load(dtype, device)
        self.rate = self.pipe.feature_extractor.sampling_rate  # Hz
        self.whisper = self.pipe.type == "seq2seq_whisper"
        self.window = self.pipe.feature_extractor.n_samples if self.whisper else CHUNK * self.rate  # samples
        self.options = self._options() if self.whisper else {}
        self.simplify = opencc.OpenCC("t2s").convert if _simplifies(speech) else str

    def transcribe(self, clips: Sequence[tuple[str, str]]) -> Iterator[list[Transcript]]:
        """Batches of what is said in the clips (name, path), in order."""
        for k in range(0, len(clips), self.speech.batch_size):
            yield self._batch(clips[k : k + self.speech.batch_size])

    def _load(self, dtype: torch.dtype, device: torch.device) -> "transformers.Pipeline":
        from transformers.models.auto import modeling_auto as auto  # takes seconds

        known = {*auto.MODEL_FOR_CTC_MAPPING_NAMES.values(), *auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES.values()}
        place = hub.locate(self.speech.model)
        hub.load_tokenizer(self.speech.model)
        made_as = (hub.load(transformers.AutoConfig, self.speech.model).architectures or ["nothing"])[0]
        # An encoder without a head would be given one with random weights, and talk nonsense.
        if made_as not in known:
            raise ConfigError(f"--speech.model: {self.speech.model} is no speech recognition model: it is a {made_as}")
        options = {"dtype": dtype, "device": device, "trust_remote_code": False}
        with hub.loading(self.speech.model, place, made_as):
            return transformers.pipeline("automatic-speech-recognition", model=place, **options)

    def _options(self) -> dict:
        """What Whisper is given besides the sound; models for English only accept neither a language nor a task."""
        options, prompt, language = {}, prompt_of(self.speech), self.speech.language
        known = getattr(self.pipe.model.generation_config, "lang_to_id", None)
        if known and getattr(self.pipe.model.generation_config, "is_multilingual", True):
            options["task"] = "transcribe"  # and never translate
            languages = sorted(token.strip("<|>") for token in known)
            if language not in ("auto", *languages):
                names = ", ".join(languages)
                raise ConfigError(f"--speech.language: {self.speech.model} knows {names}; got {language}")
            options |= {"language": language} if language != "auto" else {}
        if prompt:
            ids = self.pipe.tokenizer.get_prompt_ids(prompt, return_tensors="pt")
            options["prompt_ids"] = ids.to(self.pipe.device)
        return options

    def _batch(self, clips: Sequence[tuple[str, str]]) -> list[Transcript]:
        read = [read_media(Clip(name, "", path), self._sound) for name, path in clips]
        texts = {k: sound.frames for k, sound in enumerate(read) if isinstance(sound, Noted)}
        short = {k: samples for k, samples in texts.items() if not isinstance(samples, str)}
        texts |= zip(short, self._texts(list(short.values())), strict=True)
        ends = [self._sentence(texts[k]) if k in texts else ("", str(read[k])) for k in range(len(clips))]
        return [Transcript(name, *end) for (name, _), end in zip(clips, ends, strict=True)]

    def _sound(self, path: str, notes: list[str]) -> np.ndarray | str:
        """Samples [N] that fit into the model's window; of longer sound, its text. Raises NoFrames and MediaError."""
        samples, *more = islice(self._pieces(path, notes), 2)
        if more:  # a film is transcribed piece by piece
            texts = [self._long_text(piece) for piece in self._pieces(path, notes) if is_loud(piece, self.rate)]
            if not texts:
                raise NoFrames(SILENT)
            return " ".join(texts)
        if len(samples) < SHORTEST * self.rate:
            raise NoFrames(f"the sound is shorter than {SHORTEST} seconds")
        if not is_loud(samples, self.rate):
            raise NoFrames(SILENT)
        return samples if len(samples) <= self.window else self._long_text(samples)

    def _pieces(self, path: str, notes: list[str]) -> Iterator[np.ndarray]:
        """The sound at the model's rate in pieces of at most PIECE seconds, cut where it is quiet."""
        most, waiting = PIECE * self.rate, np.empty(0, np.float32)
        for block in media.sound(path, rate=self.rate, block=CHUNK * self.rate, notes=notes):
            waiting = np.concatenate([waiting, block])
            if len(waiting) > most:
                frame, edge = round(FRAME * self.rate), EDGE * self.rate
                quietest = int(_power(waiting[most - edge : most], frame).argmin())
                cut = most - edge + quietest * frame + frame // 2
                yield waiting[:cut]
                waiting = waiting[cut:]
        yield waiting

    def _texts(self, sounds: list[np.ndarray]) -> list[str]:
        """Texts of sounds that fit into the model's window."""
        if not sounds:
            return []
        # On a CPU each clip takes 2.7 GB of large-v3 beside its weights: what the decoder keeps of 30 seconds of sound,
        # for each of the pipeline's five beams. On a GPU it is half of that.
        together = len(sounds) if self.whisper and self.pipe.device.type != "cpu" else 1
        with torch.inference_mode():
            results = self.pipe(sounds, batch_size=together, generate_kwargs=self.options)
        return [result["text"] for result in results]

    def _long_text(self, sound: np.ndarray) -> str:
        """Text of a sound longer than the window: Whisper goes on by its time stamps, others by overlapping cuts."""
        how = {"return_timestamps": True} if self.whisper else {"chunk_length_s": CHUNK}
        with torch.inference_mode():
            return self.pipe(sound, generate_kwargs=self.options, **how)["text"]

    def _sentence(self, text: str) -> tuple[str, str]:
        """The sentence in a model's text; where there is none, the reason."""
        for token in self.pipe.tokenizer.all_special_tokens:  # CTC models leave them in
            text = text.replace(token, "")
        sentence = self.simplify(" ".join(text.split()))
        if not sentence:
            return "", "the model finds no words"
        piece = repeated(sentence)
        return ("", f"the model says nothing but {piece!r}, again and again") if piece else (sentence, "")


def prompt_of(speech: SpeechConfig) -> str:
    """The text that Whisper is given as what was said before; empty for none."""
    return PROMPTS.get(speech.language, "") if speech.prompt == "auto" else speech.prompt


def is_loud(samples: np.ndarray, rate: int) -> bool:
    """Whether sound [N] has at least SHORTEST seconds that are no silence, be it a constant, hum or a lone click."""
    voice = sosfilt(butter(4, LOWEST, "highpass", fs=rate, output="sos"), samples)
    decibels = 10 * np.log10(_power(voice, round(FRAME * rate)) + 1e-12)
    return bool((decibels > SILENCE).sum() * FRAME >= SHORTEST)


def _power(samples: np.ndarray, n: int) -> np.ndarray:
    """Mean square of each whole frame of n samples."""
    return np.square(samples[: len(samples) // n * n].reshape(-1, n)).mean(axis=1)


def repeated(text: str) -> str:
    """The piece of a text that fills more than half of it by following itself REPEATS times or more; or nothing.

    So Whisper ends where it finds no words in noise (its authors' sign is a text that gzip makes much smaller).
    """
    found = max(REPETITION.finditer(text), key=lambda match: len(match[0]), default=None)
    return found[1].strip() if found and 2 * len(found[0]) > len(text) else ""


def _simplifies(speech: SpeechConfig) -> bool:
    return speech.simplified and speech.language == "zh"


def _read_progress(path: Path) -> Iterator[Transcript]:
    """What an interrupted transcription has done."""
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with suppress(ValueError):
            yield from (Transcript(*one) for one in json.loads(line))
