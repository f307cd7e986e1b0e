"""From a name in --streams to an encoder. Modules of pretrained ones, which take seconds, are imported if asked for."""

from meiju.config import Config, ConfigError
from meiju.features.arrays import NpyFrames
from meiju.features.base import Encoder
from meiju.features.e5_small import E5Small
from meiju.features.face_geometry import FaceGeometry
from meiju.features.smart_turn import SmartTurn
from meiju.features.text import TfidfSvd
from meiju.utils import hub
from meiju.utils.compute import pick_device

KNOWN = "tfidf-svd, e5-small, smart-turn, face-geometry, npy:FOLDER and hf:MODEL (a hub id or a folder)"


def make_encoder(name: str, config: Config) -> Encoder:
    """The encoder called `name` in --streams, unfitted. Raises ConfigError for one that is unknown or not at hand."""
    match name.partition(":"):
        case "tfidf-svd", "", _:
            return TfidfSvd(dim=config.text.dim, ngrams=config.text.ngrams)
        case "e5-small", "", _:
            return E5Small()
        case "smart-turn", "", _:
            return SmartTurn(max_frames=config.audio.max_frames)
        case "face-geometry", "", _:
            return FaceGeometry(fps=config.visual.fps, crop=config.visual.crop)
        case "npy", _, place if place:
            return NpyFrames(place)
        case "hf", _, model if model:
            return _pretrained(config, model)
    raise ConfigError(f"--streams: unknown encoder {name!r}; there are {KNOWN}")


def _pretrained(config: Config, model: str) -> Encoder:
    """What a pretrained model encodes is known by its tasks in transformers."""
    import transformers

    from meiju.features.pretrained_audio import PretrainedAudio
    from meiju.features.pretrained_text import PretrainedText
    from meiju.features.pretrained_visual import PretrainedVisual

    settings, device = hub.load(transformers.AutoConfig, model), pick_device(config.device)
    kind = type(settings)
    if kind in transformers.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING:
        return PretrainedAudio(model, config.audio, device)
    if kind in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING or "vision" in settings.model_type:
        return PretrainedVisual(model, config.visual, device)
    if kind in transformers.MODEL_FOR_MASKED_LM_MAPPING or kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return PretrainedText(model, config.text, device)
    raise ConfigError(f"--streams: {model} is of type {settings.model_type}, no encoder of text, sound or pictures")
