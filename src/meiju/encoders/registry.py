"""The registry of encoders: from a name in --streams to an encoder.

The module of an encoder is imported when it is asked for: those of pretrained models take seconds.
"""

from meiju.config import Config, ConfigError
from meiju.encoders.base import Encoder
from meiju.utils import hub
from meiju.utils.compute import pick_device


def _tfidf_svd(config: Config, _: str) -> Encoder:
    from meiju.encoders.text import TfidfSvd

    return TfidfSvd(dim=config.text.dim, ngrams=config.text.ngrams, idf=config.text.idf)


def _e5_small(_: Config, __: str) -> Encoder:
    from meiju.encoders.e5_small import E5Small

    return E5Small()


def _logmel(config: Config, _: str) -> Encoder:
    from meiju.encoders.audio import LogMel

    return LogMel(mels=config.audio.mels, fps=config.audio.fps)


def _prosody(_: Config, __: str) -> Encoder:
    from meiju.encoders.prosody import Prosody

    return Prosody()


def _smart_turn(config: Config, _: str) -> Encoder:
    from meiju.encoders.smart_turn import SmartTurn

    return SmartTurn(max_frames=config.audio.max_frames)


def _pixels_pca(config: Config, _: str) -> Encoder:
    from meiju.encoders.visual import PixelsPca

    visual = config.visual
    return PixelsPca(fps=visual.fps, size=visual.size, dim=visual.dim, crop=visual.crop)


def _face_geometry(config: Config, _: str) -> Encoder:
    from meiju.encoders.face_geometry import FaceGeometry

    return FaceGeometry(fps=config.visual.fps, crop=config.visual.crop)


def _npy(_: Config, place: str) -> Encoder:
    from meiju.encoders.arrays import NpyFrames

    return NpyFrames(place)


def _pretrained(config: Config, model: str) -> Encoder:
    """What a pretrained model looks at is told by its own configuration."""
    import transformers

    from meiju.encoders.pretrained import modality_of

    settings = hub.load(transformers.AutoConfig, model)
    modality = modality_of(settings)
    if modality is None:
        raise ConfigError(
            f"--streams: {model} is of the type {settings.model_type}, no encoder of text, sound or pictures"
        )
    own = getattr(config, modality)
    options = {"layer": own.layer, "max_frames": own.max_frames, "device": pick_device(config.device)}
    if modality == "text":
        from meiju.encoders.pretrained_text import PretrainedText

        options |= {"prefix": own.prefix, "batch_tokens": own.batch_tokens, "adapt_epochs": own.adapt_epochs}
        return PretrainedText(model, **options)
    if modality == "audio":
        from meiju.encoders.pretrained_audio import PretrainedAudio

        return PretrainedAudio(model, block=own.block, batch_seconds=own.batch_seconds, **options)
    from meiju.encoders.pretrained_visual import PretrainedVisual

    return PretrainedVisual(model, fps=own.fps, crop=own.crop, batch_frames=own.batch_frames, **options)


REGISTRY = {
    "tfidf-svd": _tfidf_svd,
    "e5-small": _e5_small,
    "logmel": _logmel,
    "prosody": _prosody,
    "smart-turn": _smart_turn,
    "pixels-pca": _pixels_pca,
    "face-geometry": _face_geometry,
}
# A name before the colon is a family whose members are named after it, such as npy:FOLDER.
FAMILIES = {"npy": _npy, "hf": _pretrained}


def make_encoder(name: str, config: Config) -> Encoder:
    """The encoder called `name` in --streams, unfitted.

    Raises ConfigError for an unknown name, a missing place, or a pretrained model that is not at hand.
    """
    family, colon, place = name.partition(":")
    make = FAMILIES.get(family) if colon and place else REGISTRY.get(name)
    if make is None:
        known = f"{', '.join(REGISTRY)}, npy:FOLDER and hf:MODEL (a hub id or a folder)"
        raise ConfigError(f"--streams: unknown encoder {name!r}; there are {known}")
    return make(config, place)
