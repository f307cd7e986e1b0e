"""What clips hold for an encoder to read: looked at before long work starts; and how long they are."""

import math
from collections.abc import Sequence

from meiju.features.arrays import NpyFrames
from meiju.features.base import Clip, Encoder
from meiju.features.media import read_seconds
from meiju.features.tracks import MediaError, films, opened
from meiju.utils.clip_files import split_excerpt

LOOKED_AT = 20  # media files of a part that are opened; a corpus without sound or pictures has them in none
CONTENT = {"audio": "sound", "video": "pictures"}  # of a track


def missing_input(encoder: Encoder, clips: Sequence[Clip]) -> str:
    """Why none of these clips can have frames, as far as is seen without decoding them; "" where some may.

    Raises ConfigError where several files of ready-made frames have a clip's name.
    """
    if isinstance(encoder, NpyFrames):
        return encoder.missing_input([clip.name for clip in clips])
    if encoder.source == "sentence":
        return "" if any(clip.sentence.strip() for clip in clips) else "has a sentence"
    paths = [clip.path for clip in clips if clip.path]
    found = set().union(*map(_tracks, paths[:: max(1, len(paths) // LOOKED_AT)]))
    return f"has {CONTENT[encoder.track]}" if found and encoder.track not in found else ""


def length(path: str) -> float:
    """How many seconds a clip plays; 0 where it has no file, or one that cannot be read."""
    file, start, stop = split_excerpt(path)
    if stop < math.inf:
        return stop - start  # a film is not read through for each of its excerpts
    try:
        return read_seconds(file) if file else 0.0
    except (MediaError, FileNotFoundError):
        return 0.0


def _tracks(path: str) -> set[str]:
    """The kinds of tracks in a media file, without cover art; of one that cannot be opened, none."""
    try:
        with opened(split_excerpt(path)[0]) as container:
            return CONTENT.keys() & {track.type for track in films(container.streams)}
    except (MediaError, FileNotFoundError):
        return set()
