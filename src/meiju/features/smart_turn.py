"""Embedded audio encoder: the hidden layers of a small network that was trained on conversations.

Smart Turn v3.2 (Daily, BSD-2-Clause) classifies whether somebody has finished speaking. It is the encoder of Whisper
tiny (Radford et al. 2022, arXiv 2212.04356) with a small head, trained on conversations in 23 languages; its lower
layers predict emotion better than descriptors of the voice do (docs/encoders.md, Sound). The file comes out of the
package pipecat-ai (see meiju.utils.packaged); ONNX Runtime runs it.
"""

import functools
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from meiju.features.base import Clip, Encoded, Encoder, mean_over_time, read_each
from meiju.features.media import sound
from meiju.utils import files
from meiju.utils.packaged import packaged_file

MODEL = "smart-turn-v3.2-cpu.onnx"
LAYERS = ("add_146", "add_268")  # names of the hidden states after the first and the second of its four layers
RATE = 16000  # samples per second
WINDOW = 8 * RATE  # samples that it reads at once
HOP, N_FFT, MELS = 160, 400, 80  # of Whisper's log-mel spectrogram
STEP = 2 * HOP  # samples of one frame; the second convolution halves the mel frames


class SmartTurn(Encoder):
    """The hidden states of the two lower layers side by side, of each 20 ms, pooled over time.

    Sound is read in windows of 8 seconds. A shorter one, and the rest of a longer one, has silence before it, as in
    training; the frames of this silence are left out.
    """

    track = "audio"

    def __init__(self, *, max_frames: int):
        self.max_frames = max_frames
        self.dim = 384 * len(LAYERS)
        packaged_file(MODEL)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return read_each(self._frames, clips)

    def fingerprint(self) -> dict:
        runtime = {package: version(package) for package in ("onnxruntime", "transformers")}
        model = files.file_digest(packaged_file(MODEL))
        return {"encoder": "smart-turn", "model": model, "max_frames": self.max_frames, **runtime}

    def _frames(self, path: str, notes: list[str]) -> np.ndarray:
        windows = sound(path, rate=RATE, block=WINDOW, notes=notes)
        return mean_over_time(map(states, windows), sum(map(_n_frames, windows)), self.max_frames)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Whisper's log-mel spectrogram [MELS, WINDOW / HOP] of sound [WINDOW], brought to mean 0 and deviation 1."""
    z = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(z, N_FFT // 2, mode="reflect"), N_FFT)[:-1:HOP]
    window = np.hanning(N_FFT + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    mel = np.log10(np.maximum(_filters() @ power.T, 1e-10))
    return (np.maximum(mel, mel.max() - 8) + 4) / 4


def states(samples: np.ndarray) -> np.ndarray:
    """Hidden states [T, dim] float32 of sound [N] of at most one WINDOW, one for each STEP that has begun."""
    mel = log_mel(np.pad(samples, (WINDOW - len(samples), 0)).astype(np.float64))
    layers = _session().run(LAYERS, {"input_features": mel[None].astype(np.float32)})
    return np.concatenate(layers, axis=-1)[0, -_n_frames(samples) :]


def _n_frames(window: np.ndarray) -> int:
    return max(1, -(-len(window) // STEP))


@functools.cache
def _filters() -> np.ndarray:
    from transformers.audio_utils import mel_filter_bank  # takes a moment, and a finished step needs none of it

    return mel_filter_bank(N_FFT // 2 + 1, MELS, 0, RATE / 2, RATE, norm="slaney", mel_scale="slaney").T


@functools.cache
def _session():
    """The lower layers, as a session of ONNX Runtime."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # clips are read in parallel, one per process
    path = packaged_file(MODEL)
    with files.reading(path):
        lower = onnx.utils.Extractor(onnx.load(path)).extract_model(["input_features"], list(LAYERS))
    return onnxruntime.InferenceSession(lower.SerializeToString(), options, providers=["CPUExecutionProvider"])
