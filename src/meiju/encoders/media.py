"""Decodes clips into frames and sound, and encodes clips.

PyAV decodes with the ffmpeg libraries in its wheel, and no system ffmpeg is needed. It switches off libav's log, so
that a damaged clip causes a note or a single MediaError and no other output.

Of several tracks of a kind, that which a player takes is read, and pictures come as a player shows them. What of a
track is damaged is left out; `notes` says how much. A track of which more than half is damaged counts as missing.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from meiju.encoders import display
from meiju.encoders.tracks import (
    TIME_STAMP_ROUNDING,
    Clock,
    MediaError,
    Track,
    films,
    opened,
    opened_track,
    packets,
    require_pixels,
)

# Time stamps that fall by more than this start again, as where files were joined. Packets are not in order of time.
RESTART_OF_FRAMES, RESTART_OF_PACKETS = 0.1, 1.0  # seconds


def read_frames(path: str | Path, *, fps: float, size: int, notes: list[str] | None = None) -> np.ndarray:
    """Frames [T, size, size, 3] uint8 RGB of a clip, at most `fps` per second and at least one.

    The first frame of each 1/fps interval is kept, counted from the first frame; an interval may have none.
    A frame is scaled until its shorter side is `size`, then cropped to its centre.
    notes: where to add what was lost of the video track. Raises MediaError if there is no video track, more than half
    of it is damaged, or its pictures have more than MAX_PIXELS.
    """
    with opened_track(path, "video", notes) as track:
        frames = [display.centre_square(_shown(frame, track.aspect, size), size) for frame in _sampled(track, fps)]
    if not frames:
        raise MediaError("the video track has no decodable frame")
    return np.stack(frames)


def read_whole_frames(
    path: str | Path, *, fps: float, shorter: int, notes: list[str] | None = None
) -> list[np.ndarray]:
    """Whole frames [height, width, 3] uint8 RGB, sampled as by `read_frames`, their shorter side at most `shorter`.

    notes and MediaError: see `read_frames`.
    """
    with opened_track(path, "video", notes) as track:
        frames = [_shown(frame, track.aspect, shorter, enlarge=False) for frame in _sampled(track, fps)]
    if not frames:
        raise MediaError("the video track has no decodable frame")
    return frames


def read_audio(path: str | Path, *, rate: int = 16000, notes: list[str] | None = None) -> np.ndarray:
    """Samples [N] float32 in [-1, 1] of a clip's sound, mixed down to mono at `rate` Hz.

    notes: where to add what was lost of the audio track. Raises MediaError if there is no audio track, more than half
    of it is damaged, or its samples are not finite numbers.
    """
    notes = [] if notes is None else notes
    with opened_track(path, "audio", notes) as track:
        pieces = list(_resampled(track, rate, notes))
    if not pieces:
        raise MediaError("the audio track has no decodable sound")
    samples = np.concatenate(pieces)
    if not np.isfinite(samples).all():
        raise MediaError(
            f"the sound is not finite: {(~np.isfinite(samples)).sum()} of {len(samples)} samples are no numbers"
        )
    return samples


def write_clip(
    path: str | Path, frames: np.ndarray | None, samples: np.ndarray | None, *, fps: int, rate: int = 16000
) -> None:
    """Write an mp4 of frames [T, height, width, 3] uint8 RGB (even height and width), mono samples [N], or both.

    The same input gives the same bytes with the same build of ffmpeg: one thread, no version strings in the file.
    """
    # The format is given, because `path` may have the suffix of a temporary file.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        # mp4 needs every track to be declared before the first packet.
        video = None if frames is None else _add_video(container, frames, fps)
        audio = None if samples is None else _add_audio(container, rate)
        if video is not None:
            _mux(container, video, (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames))
        if audio is not None:
            _mux(container, audio, [_audio_frame(samples, rate)])


def read_seconds(path: str | Path) -> float:
    """Duration of a clip, by the time stamps of its packets; nothing is decoded.

    The duration in the file's header is not used: it can be missing or wrong.
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


def _shown(frame: av.VideoFrame, aspect: float, size: int, *, enlarge: bool = True) -> np.ndarray:
    """One frame as RGB [height, width, 3] as a player shows it, scaled until its shorter side is `size`."""
    shown = display.shown_size(frame.width, frame.height, aspect)
    size = size if enlarge else min(size, int(min(shown)))
    width, height = (max(size, round(side * size / min(shown))) for side in shown)
    require_pixels(width, height)
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return display.turned(image, display.display_matrix(frame))


def _resampled(track: Track, rate: int, notes: list[str]) -> Iterator[np.ndarray]:
    """Mono float32 pieces [n] of the track at `rate`."""
    return track.trimmed(_whole_resampled(track, rate, notes), rate)


def _whole_resampled(track: Track, rate: int, notes: list[str]) -> Iterator[np.ndarray]:
    """The pieces of all frames, those of an excerpt with what lies around it."""
    resampler, before = None, None
    for frame in map(_mixable, track.frames()):
        form = frame.rate, frame.layout.name, frame.format.name
        if form != before:
            if resampler is not None:
                yield from _rest(resampler)
                notes += {"the sound changes its format midway"} - set(notes)
            # A maxval of 1 averages channels; otherwise libav adds them, up to 1.4 times full scale.
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate, options={"rematrix_maxval": "1"})
            before = form
        yield from _samples(resampler.resample(frame))
    if resampler is not None:
        yield from _rest(resampler)


def _mixable(frame: av.AudioFrame) -> av.AudioFrame:
    """A frame as it is or, where it does not say where its channels belong, as the mean of its channels."""
    if not frame.layout.name.endswith(" channels"):
        return frame
    (packed,) = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.rate).resample(frame)
    channels = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)  # [n, channels]
    mono = av.AudioFrame.from_ndarray(channels.mean(axis=1)[None], format="fltp", layout="mono")
    mono.sample_rate, mono.pts, mono.time_base = frame.rate, frame.pts, frame.time_base
    return mono


def _rest(resampler: av.AudioResampler) -> Iterator[np.ndarray]:
    """What waits inside; sound that needs no resampling passes through, and then there is a None."""
    return _samples(piece for piece in resampler.resample(None) if piece is not None)


def _samples(pieces: Iterable[av.AudioFrame]) -> Iterator[np.ndarray]:
    """Mono frames of packed sound ([1, n] each) as [n]."""
    return (piece.to_ndarray()[0] for piece in pieces)


def _add_video(container: av.container.OutputContainer, frames: np.ndarray, fps: int) -> av.VideoStream:
    track = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "28"})
    track.height, track.width = frames.shape[1:3]
    track.pix_fmt = "yuv420p"
    track.codec_context.thread_count = 1
    track.codec_context.flags |= Flags.bitexact
    return track


def _add_audio(container: av.container.OutputContainer, rate: int) -> av.AudioStream:
    track = container.add_stream("aac", rate=rate, layout="mono", options={"aac_coder": "fast"})
    track.codec_context.bit_rate = 24_000  # bits per second: enough for speech
    track.codec_context.flags |= Flags.bitexact
    return track


def _audio_frame(samples: np.ndarray, rate: int) -> av.AudioFrame:
    """All samples [N] as one frame; the codec splits it into frames of its size."""
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    frame.pts, frame.time_base = 0, Fraction(1, rate)
    return frame


def _mux(container: av.container.OutputContainer, track: av.stream.Stream, frames: Iterable) -> None:
    for frame in frames:
        container.mux(track.encode(frame))
    container.mux(track.encode(None))
