"""Frames of pretrained speech models: HuBERT, wav2vec 2.0, WavLM, data2vec-audio, and Whisper's encoder."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from meiju.config import AudioConfig, ConfigError
from meiju.features import media
from meiju.features.base import Clip, Encoded, NoFrames, Noted, batches, mean_over_time, read_each
from meiju.features.media import Pieces
from meiju.features.pretrained import Pretrained
from meiju.utils import hub

BLOCK = 20  # seconds; longer sound is cut into blocks of this length (Whisper's are its own 30)


class PretrainedAudio(Pretrained):
    """One frame per hop of the model (usually 20 ms), pooled over time.

    Sound longer than `block` seconds is cut into blocks that are encoded one by one. Padding does not change a frame.
    """

    track = "audio"

    def __init__(self, model: str, config: AudioConfig, device: torch.device):
        super().__init__(model, layer=config.layer, max_frames=config.max_frames, device=device)
        self.processor = hub.load(transformers.AutoFeatureExtractor, self.place)
        self.rate = self.processor.sampling_rate
        self.whisper = isinstance(self.processor, transformers.WhisperFeatureExtractor)
        if not self.whisper and not isinstance(self.processor, transformers.Wav2Vec2FeatureExtractor):
            remedy = "give a model of the kind of wav2vec 2.0 (HuBERT, WavLM, data2vec-audio) or Whisper"
            raise ConfigError(f"--streams: {model} is of type {self.settings.model_type}; {remedy}")
        self.block = self.processor.n_samples if self.whisper else round(BLOCK * self.rate)
        # Whether it takes an attention mask: not Whisper, nor a model that normalises over time (HuBERT base).
        self.masks = not self.whisper and bool(self.processor.return_attention_mask)
        self.shortest = 1  # samples that give one frame
        if self.whisper:
            self.shortest = 2 * self.processor.hop_length  # its second convolution halves the mel frames
        else:
            for kernel, stride in zip(self.settings.conv_kernel[::-1], self.settings.conv_stride[::-1], strict=True):
                self.shortest = (self.shortest - 1) * stride + kernel
        self.budget = max(1, round(config.batch_seconds * self.rate))
        self.dim = self.settings.hidden_size * (2 if self.layer is None else 1)

    def fingerprint(self) -> dict:
        return super().fingerprint() | {"modality": "audio", "block": self.block}

    def usual_layers(self, depth: int) -> list[range]:
        """The lower and the middle third, which predict emotion better than the upper (docs/encoders.md, Sound)."""
        lower = max(1, round(depth / 3))
        middle = max(lower + 1, round(2 * depth / 3))
        return [range(1, lower + 1), range(min(lower, depth - 1) + 1, min(middle, depth) + 1)]

    def part_that_runs(self, network: nn.Module) -> nn.Module:
        return OwnFramesWhisper(network.get_encoder()) if self.whisper else network

    def reader(self) -> Callable[[Sequence[Clip]], list[Noted | NoFrames]]:
        return partial(read_each, partial(_read_sound, rate=self.rate, block=self.block))

    def finish(self, read: list[Noted | NoFrames]) -> Encoded:
        blocks: list[np.ndarray] = []
        owners: list[int] = []
        for k, sound in enumerate(read):
            if isinstance(sound, Noted) and isinstance(sound.frames, list):
                blocks += self._blocks(sound.frames)
                owners += [k] * (len(blocks) - len(owners))
        frames: dict[int, Tensor] = {}
        for batch in batches([len(block) for block in blocks], self.budget, equal=not self.masks):
            frames |= zip(batch, self._frames([blocks[b] for b in batch]), strict=True)
        encoded: Encoded = list(read)
        for k, sound in enumerate(read):
            if isinstance(sound, Noted):
                of_clip = [frames[b] for b, owner in enumerate(owners) if owner == k]
                pooled = self.pool(torch.cat(of_clip)).numpy() if of_clip else self._film(sound.frames)
                encoded[k] = Noted(pooled, sound.note)
        return encoded

    def _film(self, pieces: Pieces) -> np.ndarray:
        """Frames of sound that is too long to be held, block by block."""
        n = sum(self._n_frames([len(block) for block in self._blocks(pieces)]))
        frames = (self._frames([block])[0].numpy() for block in self._blocks(pieces))
        return mean_over_time(frames, n, self.max_frames)

    def _blocks(self, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Blocks as they are encoded: a last one too short for a frame is dropped; a clip that short gets silence."""
        for k, piece in enumerate(sound):
            least = 0 if k else self.shortest
            if self.whisper:  # the last frame is filled up with silence, so that many clips are of one length
                least = max(least, -(-len(piece) // self.shortest) * self.shortest)
            block = np.pad(piece, (0, max(0, least - len(piece))))
            if len(block) >= self.shortest:
                yield block

    @torch.inference_mode()
    def _frames(self, blocks: list[np.ndarray]) -> list[Tensor]:
        """Frames (T, dim) of each block, float32 on the CPU."""
        if self.whisper:
            inputs = self.processor(blocks, sampling_rate=self.rate, return_tensors="pt", padding="longest")
            hidden = self.hidden(input_features=inputs.input_features.to(self.dtype))
        else:
            inputs = self.processor(blocks, sampling_rate=self.rate, return_tensors="pt", padding=True)
            mask = {"attention_mask": inputs.attention_mask} if self.masks else {}
            with warnings.catch_warnings():
                # transformers' WavLM gives torch masks of two types, and torch warns about it.
                warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
                hidden = self.hidden(input_values=inputs.input_values.to(self.dtype), **mask)
        n_frames = self._n_frames([len(block) for block in blocks])
        return [h[:n].float().cpu() for h, n in zip(hidden, n_frames, strict=True)]

    def _n_frames(self, lengths: list[int]) -> list[int]:
        """How many frames blocks of so many samples have."""
        if self.whisper:
            return [length // self.shortest for length in lengths]
        return self.network._get_feat_extract_output_lengths(torch.tensor(lengths)).tolist()


class OwnFramesWhisper(nn.Module):
    """Whisper's encoder on mel frames of any length up to its window, with as many of its positions.

    transformers takes windows of 30 seconds only, where a clip of 3 seconds costs ten times as much. Nothing else
    differs: with a whole window, the hidden states are those of transformers.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_features: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        # (B, mels, 2 T) -> (B, T, dim)
        encoder = self.encoder
        x = nn.functional.gelu(encoder.conv1(input_features))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        states = [x]
        for layer in encoder.layers:
            states.append(layer(states[-1], None))
        return BaseModelOutput(encoder.layer_norm(states[-1]), states if output_hidden_states else None)


def _read_sound(path: str, *, rate: int, block: int, notes: list[str]) -> list[np.ndarray] | Pieces:
    """A clip's sound in blocks of so many samples, in place of frames; those of a film are read again each time."""
    pieces = media.sound(path, rate=rate, block=block, notes=notes)
    for _ in pieces:  # to know how many there are, and what is lost
        pass
    return list(pieces) if pieces.is_short else pieces
