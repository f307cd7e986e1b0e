"""Decodes clips into frames and sound, and encodes clips, with the ffmpeg libraries in PyAV's wheel.

Of several tracks of a kind, that which a player takes is read, and pictures come as a player shows them. What of a
track is damaged is left out; `notes` says how much. A track of which more than half is damaged counts as missing.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from meiju.features.tracks import (
    MAX_PIXELS,
    TIME_STAMP_ROUNDING,
    Clock,
    MediaError,
    Track,
    films,
    opened,
    opened_track,
    packets,
)
from meiju.utils.clip_files import split_excerpt

# Time stamps that fall by more than this start again, as where files were joined. Packets are not in order of time.
RESTART_OF_FRAMES, RESTART_OF_PACKETS = 0.1, 1.0  # seconds
# Of a film, which has more, nothing stays in memory: 100 MB of pictures, and two minutes of sound.
KEPT_PICTURES, KEPT_SECONDS = 128, 120
ODD_ASPECT = 8  # a pixel that is longer than this, in either direction, is taken for a square one, as a wrong entry


class Pieces:
    """Pictures or pieces of sound of a clip, to be gone through as often as needed.

    Those of a short clip are decoded once. Those of a film are decoded again each time, so that memory does not grow
    with its length. Going through raises MediaError, at the end too. decode(notes=...) gives the pieces; kept: how many
    stay in memory; notes: where to add what was lost.
    """

    def __init__(self, decode: Callable[..., Iterator[np.ndarray]], kept: int, notes: list[str]):
        self._decode, self._most, self._notes = decode, kept, notes
        self._kept: list[np.ndarray] | None = None

    @property
    def is_short(self) -> bool:
        """Whether all pieces are in memory, once they have been gone through."""
        return self._kept is not None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[np.ndarray] = []
        notes: list[str] = []
        for piece in self._decode(notes=notes):
            if len(kept) <= self._most:
                kept.append(piece)
            yield piece
        self._kept = kept if len(kept) <= self._most else None
        self._notes += [note for note in notes if note not in self._notes]


def pictures(path: str | Path, *, fps: float, size: int, notes: list[str], square: bool = False) -> Pieces:
    """Frames [height, width, 3] uint8 RGB of a clip, their shorter side at most `size`; at least one.

    square: they are scaled until their shorter side is `size`, then cropped to their centre. The first frame of each
    1/fps interval is kept, counted from the first frame; an interval may have none. There is a MediaError if there is
    no video track, more than half of it is damaged, or its pictures have more than MAX_PIXELS.
    """
    return Pieces(partial(_pictures, path, fps=fps, size=size, square=square), KEPT_PICTURES, notes)


def sound(path: str | Path, *, rate: int, block: int, notes: list[str]) -> Pieces:
    """Samples float32 in [-1, 1] of a clip's sound, mixed down to mono at `rate` Hz: blocks [block], the last shorter.

    There is a MediaError if there is no audio track, more than half of it is damaged, or its samples are not finite.
    """
    return Pieces(partial(_blocks, path, rate=rate, block=block), KEPT_SECONDS * rate // block, notes)


def write_clip(
    path: str | Path, frames: np.ndarray | None, samples: np.ndarray | None, *, fps: int, rate: int = 16000
) -> None:
    """Write an mp4 of frames [T, height, width, 3] uint8 RGB (even height and width), mono samples [N], or both.

    The same input gives the same bytes with the same build of ffmpeg: one thread, no version strings in the file.
    """
    # The format is given, because `path` may have the suffix of a temporary file.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        tracks: list[tuple[av.stream.Stream, Iterable]] = []  # all declared before the first packet, as mp4 needs it
        if frames is not None:
            video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "28"})
            video.height, video.width = frames.shape[1:3]
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
            tracks.append((video, (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)))
        if samples is not None:
            audio = container.add_stream("aac", rate=rate, layout="mono", options={"aac_coder": "fast"})
            audio.codec_context.bit_rate = 24_000  # bits per second: enough for speech
            whole = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
            whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
            tracks.append((audio, [whole]))  # the codec splits it into frames of its size
        for track, _ in tracks:
            track.codec_context.flags |= Flags.bitexact
        for track, of_track in tracks:
            for frame in chain(of_track, [None]):  # which brings out what waits inside
                container.mux(track.encode(frame))


def read_seconds(path: str | Path) -> float:
    """Duration of a clip, by the time stamps of its packets, because that in the file's header can be missing or wrong.

    Raises MediaError if there is neither a picture nor sound.
    """
    with opened(path) as container:
        tracks = films([*container.streams.video, *container.streams.audio])
        if not tracks:
            raise MediaError("there is neither a video nor an audio track")
        clocks = {track.index: Clock(RESTART_OF_PACKETS) for track in tracks}
        start, stop = math.inf, 0.0
        for packet in packets(container, tracks):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                length = float((packet.duration or 0) * packet.time_base)
                seconds = clocks[packet.stream.index].read(float(stamp * packet.time_base), step=length)
                start, stop = min(start, seconds), max(stop, seconds + length)
    return max(0.0, stop - start)


def length(path: str) -> float:
    """How many seconds a clip plays; 0 where it has no file, or one that cannot be read."""
    file, start, stop = split_excerpt(path)
    if stop < math.inf:
        return stop - start  # a film is not read through for each of its excerpts
    try:
        return read_seconds(file) if file else 0.0
    except (MediaError, FileNotFoundError):
        return 0.0


def _pictures(path: str | Path, *, fps: float, size: int, square: bool, notes: list[str]) -> Iterator[np.ndarray]:
    frame = None
    with opened_track(path, "video", notes) as track:
        aspect = float(track.stream.sample_aspect_ratio or 1)  # how many times a stored pixel is as wide as high
        for frame in _sampled(track, fps):
            image = _shown(frame, aspect, size, enlarge=square)
            top, left = ((side - size) // 2 for side in image.shape[:2])
            yield image[top : top + size, left : left + size] if square else image
    if frame is None:
        raise MediaError("the video track has no decodable frame")


def _blocks(path: str | Path, *, rate: int, block: int, notes: list[str]) -> Iterator[np.ndarray]:
    n_samples = n_bad = n_waiting = 0
    waiting: list[np.ndarray] = []
    with opened_track(path, "audio", notes) as track:
        for piece in track.trimmed(_resampled(track, rate, notes), rate):
            n_samples, n_bad = n_samples + len(piece), n_bad + int((~np.isfinite(piece)).sum())
            waiting.append(piece)
            n_waiting += len(piece)
            if n_waiting > block:
                *whole, rest = np.split(np.concatenate(waiting), range(block, n_waiting + 1, block))
                waiting, n_waiting = [rest], len(rest)
                yield from whole
    if not n_samples:
        raise MediaError("the audio track has no decodable sound")
    if n_bad:
        raise MediaError(f"the sound is not finite: {n_bad} of {n_samples} samples are no numbers")
    if n_waiting:
        yield np.concatenate(waiting)


def _sampled(track: Track, fps: float) -> Iterator[av.VideoFrame]:
    """The first frame of each 1/fps interval, counted from the first frame's time."""
    clock, start, last_interval = Clock(RESTART_OF_FRAMES), None, -1
    for number, frame in enumerate(track.frames()):
        seconds = clock.read(number / track.rate if frame.time is None else frame.time, step=1 / track.rate)
        start = seconds if start is None else start
        interval = int((seconds - start + TIME_STAMP_ROUNDING) * fps)
        if interval > last_interval:
            last_interval = interval
            yield frame


def _shown(frame: av.VideoFrame, aspect: float, size: int, *, enlarge: bool) -> np.ndarray:
    """One frame as RGB [height, width, 3] as a player shows it, scaled until its shorter side is `size`.

    A file may store pictures squeezed, and say how wide a pixel is to its height: here the short sides of pixels are
    made longer, so no detail is lost.
    """
    if not 1 / ODD_ASPECT <= aspect <= ODD_ASPECT:
        aspect = 1.0
    shown = frame.width * max(1.0, aspect), frame.height * max(1.0, 1 / aspect)
    size = size if enlarge else min(size, int(min(shown)))
    width, height = (max(size, round(side * size / min(shown))) for side in shown)
    if width * height > MAX_PIXELS:
        raise MediaError(f"the pictures are too large: {width} × {height}, of at most {MAX_PIXELS} pixels in all")
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return _turned(image, frame)


def _turned(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """An image [height, width, 3] turned and mirrored as the frame's display matrix says, to the nearest right angle.

    A matrix [[a, b], [c, d]] shows the pixel at (x, y) at (a x + c y, b x + d y); x points right and y down.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, (a, d) = image.swapaxes(0, 1), (c, b)
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _resampled(track: Track, rate: int, notes: list[str]) -> Iterator[np.ndarray]:
    """Mono float32 pieces [n] of all frames of the track at `rate`, those of an excerpt with what lies around it."""
    by_format = groupby(map(_mixable, track.frames()), lambda frame: (frame.rate, frame.layout.name, frame.format.name))
    for k, (_, frames) in enumerate(by_format):
        if k == 1:
            notes.append("the sound changes its format midway")
        # A maxval of 1 averages channels; otherwise libav adds them, up to 1.4 times full scale.
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate, options={"rematrix_maxval": "1"})
        for frame in chain(frames, [None]):  # where sound needs no resampling, None comes out at the end
            yield from (piece.to_ndarray()[0] for piece in resampler.resample(frame) if piece is not None)


def _mixable(frame: av.AudioFrame) -> av.AudioFrame:
    """A frame as it is or, where it does not say where its channels belong, as the mean of its channels."""
    if not frame.layout.name.endswith(" channels"):
        return frame
    (packed,) = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.rate).resample(frame)
    channels = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)  # [n, channels]
    mono = av.AudioFrame.from_ndarray(channels.mean(axis=1)[None], format="fltp", layout="mono")
    mono.sample_rate, mono.pts, mono.time_base = frame.rate, frame.pts, frame.time_base
    return mono
