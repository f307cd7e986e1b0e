"""What encoders with a pretrained network share: loading, choice of layers, pooling over time."""

from collections.abc import Sequence
from functools import cached_property

import torch
import transformers
from torch import Tensor, nn

from meiju.config import ConfigError
from meiju.features.base import Clip, Encoded, Encoder
from meiju.utils import hub

LAST_LAYERS = 4  # averaged if no layer is chosen, as is usual for emotion (MERTools' feature extraction)
# Weights that a checkpoint may lack, because frames do not depend on them: sentence pooling, masking in training.
SPARE_WEIGHTS = ("pooler", "masked_spec_embed", "mask_token")


class Pretrained(Encoder):
    """A pretrained network that gives a sequence of frames per clip.

    model: a folder or a hub id. layer: a hidden layer (-1 is the last), or None for the `usual_layers`.
    max_frames: a longer sequence is pooled to this many frames; 0 keeps all. On CUDA, it computes in bfloat16.
    """

    light = False
    kind: str = "AutoModel"  # the class of transformers for the network; its name, because importing it takes seconds

    def __init__(self, model: str, *, layer: int | None, max_frames: int = 0, device: torch.device):
        self.model, self.layer, self.max_frames, self.device = model, layer, max_frames, device
        self.place = hub.locate(model)
        self.settings = hub.load(transformers.AutoConfig, self.place)
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        depth = getattr(self.settings, "vision_config", self.settings).num_hidden_layers
        if layer is not None and abs(layer) > depth:
            raise ConfigError(f"--streams: {model} has layers 1 to {depth} (or -{depth} to -1), not {layer}")

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return self.finish(self.reader()(clips))

    def close(self) -> None:
        """Free the network; it is loaded again when it is needed."""
        self.__dict__ = self.__getstate__()

    def __getstate__(self) -> dict:
        """Without the network: workers of a cluster load it from its folder."""
        return {key: value for key, value in self.__dict__.items() if key not in ("network", "_norm")}

    def fingerprint(self) -> dict:
        settings = {"layer": self.layer, "max_frames": self.max_frames, "dtype": str(self.dtype)}
        return {"encoder": "hf", **hub.identity(self.model), **settings, "transformers": transformers.__version__}

    @cached_property
    def network(self) -> nn.Module:
        """The network, in evaluation mode, on the device. Raises ConfigError if weights are missing."""
        kind = getattr(transformers, self.kind)
        network, loaded = hub.load(kind, self.place, dtype=self.dtype, output_loading_info=True)
        missing = sorted(key for key in loaded["missing_keys"] if not any(spare in key for spare in SPARE_WEIGHTS))
        if missing:
            what = f"{len(missing)} weights of the model, such as {missing[0]}"
            raise ConfigError(f"--streams: {self.place} lacks {what}")
        return self.part_that_runs(network).to(self.device).eval()

    def part_that_runs(self, network: nn.Module) -> nn.Module:
        """The part of the network that makes frames; all of it by default."""
        return network

    def hidden(self, **inputs) -> Tensor:
        """The chosen layer of a batch, or means of the usual ones side by side: (B, T, dim), padding included.

        If the architecture ends in a normalisation outside its layers, it is applied to every layer: transformers 5
        returns the hidden states of large speech models without it. Call in inference mode.
        """
        inputs = {key: value.to(self.device) for key, value in inputs.items()}
        if self.layer == -1:
            return self.network(**inputs).last_hidden_state
        norm = self._final_norm(inputs)
        output = self.network(**inputs, output_hidden_states=True)
        earlier = output.hidden_states[:-1]
        layers = [*(norm(h) if norm else h for h in earlier), output.last_hidden_state]
        if self.layer is not None:
            return layers[self.layer]
        bands = [torch.stack([layers[k] for k in band]).mean(dim=0) for band in self.usual_layers(len(layers) - 1)]
        return torch.cat(bands, dim=-1)

    def usual_layers(self, depth: int) -> list[range]:
        """Which of the layers 1 to `depth` are taken if none is chosen: those of each range are averaged."""
        return [range(max(1, depth + 1 - LAST_LAYERS), depth + 1)]

    def pool(self, frames: Tensor) -> Tensor:
        """Frames (T, dim) pooled to at most `max_frames`, each the mean of an equal part of the sequence."""
        if not 0 < self.max_frames < len(frames):
            return frames
        return nn.functional.adaptive_avg_pool1d(frames.T[None].float(), self.max_frames)[0].T

    def _final_norm(self, inputs: dict[str, Tensor]) -> nn.Module | None:
        """The normalisation whose output is the last hidden state, unless it belongs to a layer; searched for once.

        It is known by where its output lies in memory, so no batch, whatever it holds, can change what is found.
        """
        if "_norm" not in self.__dict__:
            outputs: dict[nn.Module, Tensor] = {}
            hooks = [
                module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
                for name, module in self.network.named_modules()
                if "norm" in type(module).__name__.lower() and not any(part.isdigit() for part in name.split("."))
            ]
            last = self.network(**inputs).last_hidden_state
            for hook in hooks:
                hook.remove()
            same = (m for m, o in outputs.items() if o.shape == last.shape and o.data_ptr() == last.data_ptr())
            self._norm: nn.Module | None = next(same, None)
        return self._norm
