"""The registry of encoders: from a name in --streams to an encoder."""

from meiju.config import Config, ConfigError
from meiju.encoders.arrays import NpyFrames
from meiju.encoders.audio import LogMel
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames
from meiju.encoders.text import TfidfSvd
from meiju.encoders.visual import PixelsPca

__all__ = ["Clip", "Encoded", "Encoder", "NoFrames", "make_encoder"]

# A name before the colon is a family whose members are named after it, such as npy:FOLDER.
REGISTRY = {
    "tfidf-svd": lambda config, _: TfidfSvd(dim=config.text.dim, ngrams=config.text.ngrams, idf=config.text.idf),
    "logmel": lambda config, _: LogMel(mels=config.audio.mels, fps=config.audio.fps),
    "pixels-pca": lambda config, _: PixelsPca(fps=config.visual.fps, size=config.visual.size, dim=config.visual.dim),
    "npy": lambda _, place: NpyFrames(place),
}


def make_encoder(name: str, config: Config) -> Encoder:
    """The encoder called `name` in --streams, unfitted. Raises ConfigError for an unknown name or a missing place."""
    family, colon, place = name.partition(":")
    if family not in REGISTRY or bool(colon) != (family == "npy"):
        known = "tfidf-svd, logmel, pixels-pca and npy:FOLDER"
        raise ConfigError(f"--streams: unknown encoder {name!r}; there are {known}")
    return REGISTRY[family](config, place)
