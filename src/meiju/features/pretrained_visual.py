"""Frames of pretrained vision transformers such as CLIP, DINOv2 and ViT."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
import transformers
from torch import Tensor

from meiju.config import ConfigError, VisualConfig
from meiju.features import faces
from meiju.features.base import Clip, Encoded, Noted, read_each
from meiju.features.pictures import read_squares
from meiju.features.pretrained import Pretrained
from meiju.utils import hub

# Classes of transformers for the vision part alone, by the type of a model.
KINDS = {"clip": "CLIPVisionModel", "clip_vision_model": "CLIPVisionModel", "siglip": "SiglipVisionModel"}


class PretrainedVisual(Pretrained):
    """One frame per picture: CLIP's projected embedding, for other models the class token.

    A model without a class token gives the mean of its patches. A layer other than the last is not projected.
    """

    track = "video"

    def __init__(self, model: str, config: VisualConfig, device: torch.device):
        super().__init__(model, layer=config.layer, device=device)
        self.fps, self.crop, self.batch_frames = config.fps, config.crop, config.batch_frames
        if self.crop != "frame":
            faces.require_models()
        self.processor = hub.load(transformers.AutoImageProcessor, self.place)
        # Pictures are read in the size that the processor wants, so that it does not resize; it may still crop.
        self.size = _side(self.processor.size)
        crops = getattr(self.processor, "do_center_crop", False)
        self.crop_to = _side(self.processor.crop_size) if crops else self.size
        if self.crop_to > self.size:
            raise ConfigError(f"--streams: {model} crops pictures of {self.size} pixels to {self.crop_to}")
        vision = getattr(self.settings, "vision_config", self.settings)
        kind = self.settings.model_type
        if not hasattr(vision, "patch_size"):
            remedy = "give one such as CLIP, DINOv2 or ViT"
            raise ConfigError(f"--streams: {model} ({kind}) is no vision transformer; {remedy}")
        self.projected = kind in ("clip", "clip_vision_model") and self.layer == -1
        self.kind = "CLIPVisionModelWithProjection" if self.projected else KINDS.get(kind, self.kind)
        self.dim = vision.projection_dim if self.projected else vision.hidden_size

    def fingerprint(self) -> dict:
        own = {"modality": "visual", "fps": self.fps, "size": self.size, "crop": self.crop}
        return super().fingerprint() | own | ({} if self.crop == "frame" else faces.fingerprint())

    def reader(self) -> Callable[[Sequence[Clip]], list]:
        return partial(read_each, partial(read_squares, fps=self.fps, size=self.size, crop=self.crop))

    def finish(self, read: list) -> Encoded:
        encoded: Encoded = list(read)
        # The pictures of all clips, in batches of equal size.
        pictures = ((k, p) for k, of_clip in enumerate(read) if isinstance(of_clip, Noted) for p in of_clip.frames)
        frames: dict[int, list[Tensor]] = defaultdict(list)
        while batch := list(islice(pictures, self.batch_frames)):
            owners, squares = zip(*batch, strict=True)
            for k, frame in zip(owners, self._frames(np.stack(squares)), strict=True):
                frames[k].append(frame)
        for k, of_clip in frames.items():
            encoded[k] = Noted(torch.stack(of_clip).numpy(), read[k].note)
        return encoded

    @torch.inference_mode()
    def _frames(self, pictures: np.ndarray) -> Tensor:
        """Frames (N, dim) of pictures [N, size, size, 3] uint8, float32 on the CPU."""
        pixels = self.processed(torch.from_numpy(pictures).to(self.device)).to(self.dtype)
        if self.projected:
            return self.network(pixel_values=pixels).image_embeds.float().cpu()
        hidden = self.hidden(pixel_values=pixels)  # (N, tokens, dim)
        names = [name for name, _ in self.network.named_parameters()]
        has_token = any(name.endswith(("cls_token", "class_embedding")) for name in names)
        return (hidden[:, 0] if has_token else hidden.mean(dim=1)).float().cpu()

    def processed(self, pictures: Tensor) -> Tensor:
        """What the processor makes of pictures (N, size, size, 3) uint8: (N, 3, crop_to, crop_to) float32.

        On the device: the processor, which works on the CPU, takes longer than a network on a GPU.
        """
        start, processor = (self.size - self.crop_to) // 2, self.processor
        kept = slice(start, start + self.crop_to)
        pixels = pictures[:, kept, kept].permute(0, 3, 1, 2).float()
        if processor.do_rescale:
            pixels = pixels * processor.rescale_factor
        if processor.do_normalize:
            channels = (processor.image_mean, processor.image_std)
            mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in channels)
            pixels = (pixels - mean) / std
        return pixels


def _side(size) -> int:
    """The side of the square that a processor wants."""
    return int(size.get("height") or size.get("shortest_edge"))
