"""Decodes clips into frames and sound, and encodes clips.

PyAV decodes with the ffmpeg libraries in its wheel: any container they know works, and no system ffmpeg is needed.
PyAV switches off libav's log, so that a damaged clip causes a single MediaError and no other output.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

# mkv rounds time stamps down to milliseconds; a frame that is earlier by this much still belongs to its interval.
TIME_STAMP_ROUNDING = 0.001  # seconds
FALLBACK_RATE = 25  # frames per second of a video without time stamps and frame rate


class MediaError(Exception):
    """Why a clip gives no frames or no sound. The caller adds the clip's name."""


def read_frames(path: str | Path, *, fps: float, size: int) -> np.ndarray:
    """Frames [T, size, size, 3] uint8 RGB of the first video track, at most `fps` per second and at least one.

    The first frame of each 1/fps interval is kept, counted from the first frame; an interval may have none.
    A frame is scaled until its shorter side is `size`, then cropped to its centre.
    Raises MediaError if there is no video track or it cannot be decoded to its end.
    """
    with _first_track(path, "video") as (container, track):
        frames = [_centre_square(frame, size) for frame in _sampled(container, track, fps)]
    if not frames:
        raise MediaError("the video track has no decodable frame")
    return np.stack(frames)


def read_whole_frames(path: str | Path, *, fps: float, shorter: int) -> list[np.ndarray]:
    """Whole frames [height, width, 3] uint8 RGB, sampled as by `read_frames`, their shorter side at most `shorter`.

    Raises MediaError as `read_frames` does.
    """
    with _first_track(path, "video") as (container, track):
        frames = [_whole(frame, shorter) for frame in _sampled(container, track, fps)]
    if not frames:
        raise MediaError("the video track has no decodable frame")
    return frames


def read_audio(path: str | Path, *, rate: int = 16000) -> np.ndarray:
    """Samples [N] float32 in [-1, 1] of the first audio track, mixed down to mono at `rate` Hz.

    Raises MediaError if there is no audio track or it cannot be decoded to its end.
    """
    with _first_track(path, "audio") as (container, track):
        pieces = list(_resampled(container, track, rate))
    if not pieces:
        raise MediaError("the audio track has no decodable sound")
    return np.concatenate(pieces)


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
    Raises MediaError if there is neither a picture nor sound, or the file cannot be read to its end.
    """
    with _opened(path) as container:
        tracks = [*container.streams.video, *container.streams.audio]
        if not tracks:
            raise MediaError("there is neither a video nor an audio track")
        start, stop = math.inf, 0.0
        for packet in container.demux(tracks):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:  # the last, empty packet of a track has none
                start = min(start, float(stamp * packet.time_base))
                stop = max(stop, float((stamp + (packet.duration or 0)) * packet.time_base))
    return max(0.0, stop - start)


@contextmanager
def _opened(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Open a file; errors of libav become MediaErrors.

    A file that does not exist stays a FileNotFoundError: the path is wrong, not the clip. A file that was cut off
    between two packets is no error for libav, and gives what is left.
    """
    try:
        with av.open(str(path)) as container:
            yield container
    except FileNotFoundError:
        raise
    except av.FFmpegError as error:
        raise MediaError(f"not decodable: {error.strerror}") from error


@contextmanager
def _first_track(path: str | Path, kind: str) -> Iterator[tuple[av.container.InputContainer, av.stream.Stream]]:
    """Open a file and its first track of a kind ('video', 'audio')."""
    with _opened(path) as container:
        tracks = getattr(container.streams, kind)
        if not tracks:
            raise MediaError(f"there is no {kind} track")
        if tracks[0].codec_context is None:
            raise MediaError(f"the {kind} track is of no kind that can be decoded")
        tracks[0].codec_context.thread_count = 1  # clips are decoded in parallel, one per process
        yield container, tracks[0]


def _sampled(container: av.container.InputContainer, track: av.VideoStream, fps: float) -> Iterator[av.VideoFrame]:
    """The first frame of each 1/fps interval, counted from the first frame's time."""
    rate = float(track.average_rate or FALLBACK_RATE)
    start, last_interval = None, -1
    for number, frame in enumerate(container.decode(track)):
        seconds = number / rate if frame.time is None else frame.time
        start = seconds if start is None else start
        interval = int((seconds - start + TIME_STAMP_ROUNDING) * fps)
        if interval > last_interval:
            last_interval = interval
            yield frame


def _centre_square(frame: av.VideoFrame, size: int) -> np.ndarray:
    """One frame as RGB [size, size, 3]: shorter side scaled to `size`, the longer one cut on both ends."""
    image = _scaled(frame, size)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _whole(frame: av.VideoFrame, shorter: int) -> np.ndarray:
    return _scaled(frame, min(shorter, frame.width, frame.height))


def _scaled(frame: av.VideoFrame, size: int) -> np.ndarray:
    """One frame as RGB [height, width, 3], scaled until its shorter side is `size`."""
    shorter = min(frame.width, frame.height)
    width, height = (max(size, round(side * size / shorter)) for side in (frame.width, frame.height))
    return frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")


def _resampled(container: av.container.InputContainer, track: av.AudioStream, rate: int) -> Iterator[np.ndarray]:
    """Mono float32 pieces [n] of the track at `rate`."""
    # A maxval of 1 averages channels; otherwise libav adds them, up to 1.4 times full scale.
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate, options={"rematrix_maxval": "1"})
    for frame in container.decode(track):
        yield from _samples(_resample(resampler, frame))
    # Sound that needs no resampling passes through, and then the flush returns None.
    yield from _samples(piece for piece in resampler.resample(None) if piece is not None)


def _resample(resampler: av.AudioResampler, frame: av.AudioFrame) -> list[av.AudioFrame]:
    try:
        return resampler.resample(frame)
    except ValueError as error:  # PyAV: the rate, layout or sample format differs from the first frame's
        raise MediaError(f"the sound changes its format midway: {error}") from error


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
