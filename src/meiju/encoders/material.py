"""What clips hold for an encoder to read, looked at before long work starts."""

from collections.abc import Sequence

import av

from meiju.encoders.arrays import NpyFrames
from meiju.encoders.base import Clip, Encoder
from meiju.utils.clip_files import split_excerpt

LOOKED_AT = 20  # media files of a part that are opened; a corpus without sound or pictures has them in none
MEANT = {"audio": "sound", "video": "pictures"}


def lack_of(encoder: Encoder, clips: Sequence[Clip]) -> str:
    """Why none of these clips can have frames, as far as is seen without decoding them; "" where some may.

    Raises ConfigError where several files of ready-made frames have a clip's name.
    """
    if isinstance(encoder, NpyFrames):
        encoder.require_one_each([clip.name for clip in clips])
        return "" if any(map(encoder.has, clips)) else f"has a .npy in {encoder.place}{encoder.hint}"
    if encoder.source == "sentence":
        return "" if any(clip.sentence.strip() for clip in clips) else "has a sentence"
    paths = [clip.path for clip in clips if clip.path]
    known = [tracks for tracks in map(_tracks, paths[:: max(1, len(paths) // LOOKED_AT)]) if tracks]
    if not encoder.track or not known or any(encoder.track in tracks for tracks in known):
        return ""
    return f"has {MEANT[encoder.track]}"


def _tracks(path: str) -> set[str]:
    """The kinds of tracks in a media file, cover art aside; of one that cannot be opened, none."""
    try:
        with av.open(split_excerpt(path)[0]) as container:
            pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            return {kind for kind, tracks in (("video", pictures), ("audio", container.streams.audio)) if tracks}
    except (av.FFmpegError, OSError):
        return set()
