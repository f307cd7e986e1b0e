"""Opens clips, chooses the track that a player takes, and decodes what of it can be decoded."""

import errno
import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from meiju.utils import files, system
from meiju.utils.clip_files import split_excerpt

# Contents that a clip may have, by the names of libav's demuxers. Others read playlists, which lead to other files,
# texts, or pictures one by one, whatever the ending of the file's name.
FORMATS = (
    *("mov", "matroska", "avi", "flv", "asf", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "rm", "dv", "mxf"),
    *("nut", "ivf", "obu", "ogg", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "ac3", "eac3", "amr", "wv"),
    *("ape", "tta"),
)
MAX_PIXELS = 8192 * 4320  # of a picture, the largest that cameras write; decoding takes memory and time for each

# mkv rounds time stamps down to milliseconds; a frame that is earlier by this much still belongs to its interval.
TIME_STAMP_ROUNDING = 0.001  # seconds
# How far ahead of an excerpt decoding begins: sound decoders need a few packets to settle, and some indices lead to a
# place a little after the time that was asked for. Where even the second is too near, the file is read from its start.
AHEAD = (1.0, 15.0)  # seconds
FALLBACK_RATE = 25  # frames per second of a video without time stamps and frame rate
LEAP = 3600  # seconds from one time stamp to the next that no clip has
READING_ERRORS = 100  # after which a file is not read on

COVER = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image  # no film
Timed = tuple[float, float, av.VideoFrame | av.AudioFrame]  # when a frame begins and ends, in seconds, and the frame
BESIDE = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired  # not what was filmed


class MediaError(Exception):
    """Why a clip gives no frames or no sound. The caller adds the clip's name."""


@contextmanager
def opened(path: str | Path) -> Iterator[InputContainer]:
    """Open a file; errors of libav become MediaErrors, those of the system Unreadable.

    A file that does not exist stays a FileNotFoundError: the path is wrong, not the clip.
    """
    try:
        # Python reads the file for libav, which would take a drive's error midway for the end of the clip.
        with _Reader(path) as file, _container(file) as container:
            yield container
    except FileNotFoundError:
        raise
    except (av.FFmpegError, OSError) as error:
        if system.errno_of(error) and not (isinstance(error, av.FFmpegError) and _is_damage(path, error)):
            system.raise_unreadable(path, error)
        if not isinstance(error, av.FFmpegError):
            raise
        if files.is_lfs_pointer(Path(path)):
            raise MediaError(files.LFS_POINTER) from None
        if isinstance(error, av.ArgumentError):  # how libav refuses contents that are not on the list
            raise MediaError("not decodable: by its contents, the file is neither film nor sound") from None
        raise MediaError(f"not decodable: {error.strerror}") from error


class _Reader(io.FileIO):
    """A file as libav reads it: where contents lead to a place that cannot be, it gets the number of an error."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError, OSError) as error:
            if getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
                raise
            return -errno.EINVAL


def _container(file: _Reader) -> InputContainer:
    # libav has no protocol by which to read another file.
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "", "max_pixels": str(MAX_PIXELS)}
    return av.open(file, options=options, metadata_errors="replace")


def _is_damage(path: str | Path, error: av.FFmpegError) -> bool:
    """Whether the clip's bytes alone make libav fail like this.

    Its readers say of damage too that an operation is not permitted, or that input, output or memory failed.
    """
    try:
        file = _Reader(path)
        file.name = "contents"  # and nothing else of the file plays a part
        with file, _container(file) as container:
            for packet in container.demux([*container.streams.video, *container.streams.audio]):
                try:
                    packet.decode()
                except av.FFmpegError as again:
                    if again.errno == error.errno:
                        return True
    except av.FFmpegError as again:
        return again.errno == error.errno
    return False


@contextmanager
def opened_track(path: str | Path, kind: str, notes: list[str]) -> Iterator["Track"]:
    """Open a file and the track of a kind ('video', 'audio') that a player takes; of an excerpt, its part of it."""
    path, start, stop = split_excerpt(path)
    with opened(path) as container:
        tracks = films(getattr(container.streams, kind))
        if not tracks:
            raise MediaError(f"there is no {kind} track")
        tracks = [track for track in tracks if track.codec_context is not None]
        if not tracks:
            raise MediaError(f"the {kind} track is of no kind that can be decoded")
        chosen = min(tracks, key=lambda t: (bool(t.disposition & BESIDE), not t.disposition & Disposition.default))
        yield Track(container, chosen, notes, start, stop)


def kinds(path: str) -> set[str]:
    """Which of 'audio' and 'video' a file has, without cover art; none where it cannot be opened."""
    try:
        with opened(split_excerpt(path)[0]) as container:
            return {"audio", "video"} & {track.type for track in films(container.streams)}
    except (MediaError, FileNotFoundError):
        return set()


def films(tracks: Iterable[av.stream.Stream]) -> list[av.stream.Stream]:
    """The tracks without pictures that only stand for the clip, such as cover art."""
    return [track for track in tracks if not track.disposition & COVER]


class Track:
    """A track of an open file. It gives what can be decoded, and notes how much cannot.

    start, stop: which part of it is read, in seconds from where the file starts.
    """

    def __init__(
        self, container: InputContainer, stream: av.stream.Stream, notes: list[str], start: float, stop: float
    ):
        self.container, self.stream, self.notes = container, stream, notes
        self.start, self.stop = start, stop
        self.first = math.nan  # when the first frame that was given begins
        self._n_read = self._n_failed = 0  # packets
        stream.codec_context.thread_count = 1  # clips are decoded in parallel, one per process
        if stream.type == "video":
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # again, as pictures can grow midway

    @property
    def rate(self) -> float:
        """Pictures per second of a video track."""
        return float(self.stream.average_rate or FALLBACK_RATE)

    @property
    def is_whole(self) -> bool:
        """Whether all of the track is read."""
        return self.stop == math.inf

    def frames(self) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """All frames that can be decoded. Raises MediaError at the end if more than half of the packets cannot.

        Of an excerpt, the pictures that begin in it or, where none does, the one that is shown all along; of sound,
        what reaches into it (see `trimmed`).
        """
        yield from self._decoded() if self.is_whole else self._excerpt()
        self._note_damage()
        if not self.is_whole and math.isnan(self.first):
            raise MediaError(f"there is nothing in the {self.stream.type} track from {self.start} to {self.stop} s")

    def trimmed(self, pieces: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """Of pieces of samples [n] of all frames, one after another, what lies between `start` and `stop`."""
        position = None
        for piece in pieces:
            if position is None:  # when the first piece begins, in samples from `start`
                position = 0 if self.is_whole else round((self.first - self.start) * rate)
            end = len(piece) if self.is_whole else max(0, round((self.stop - self.start) * rate) - position)
            kept = piece[max(0, -position) : end]
            position += len(piece)
            if len(kept):
                yield kept

    def _decoded(self) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """The frames from where the file stands."""
        for packet in packets(self.container, [self.stream]):
            self._n_read += 1
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._n_failed += 1
        end = av.Packet()  # with nothing in it, it brings out what waits inside the decoder
        end.stream, end.time_base = self.stream, self.stream.time_base
        with suppress(av.FFmpegError):
            yield from end.decode()

    def _excerpt(self) -> Iterator[av.VideoFrame | av.AudioFrame]:
        timed = self._from_nearby()
        self._n_read = self._n_failed = 0  # where decoding began in the middle, what cannot be decoded is no damage
        before = None
        for begin, end, frame in timed:
            if begin >= self.stop - TIME_STAMP_ROUNDING:
                if before and math.isnan(self.first) and self.stream.type == "video":
                    self.first = begin
                    yield before
                return
            if (begin if self.stream.type == "video" else end) >= self.start - TIME_STAMP_ROUNDING:
                self.first = begin if math.isnan(self.first) else self.first
                yield frame
            before = frame

    def _from_nearby(self) -> Iterator[Timed]:
        """The frames from a little before the excerpt on or, where the file cannot be sought in, from its start."""
        for ahead in () if self.container.format.flags & Flags.no_timestamps.value else AHEAD:
            if self.start > ahead:
                try:  # from a key frame at or before that time
                    self.container.seek((self.container.start_time or 0) + round((self.start - ahead) * av.time_base))
                except av.FFmpegError:
                    continue
                timed = self._timed(math.nan)
                first = next(timed, None)
                if first and first[0] <= self.start:
                    return chain([first], timed)
                self.container.seek(0)
        return self._timed(0.0)

    def _timed(self, begin: float) -> Iterator[Timed]:
        """When each frame begins (the first at `begin`, without time stamps) and ends, in seconds, and the frame."""
        start = (self.container.start_time or 0) / av.time_base
        for frame in self._decoded():
            begin = begin if frame.time is None else frame.time - start
            end = begin + (frame.samples / frame.rate if self.stream.type == "audio" else 1 / self.rate)
            yield begin, end, frame
            begin = end

    def _note_damage(self) -> None:
        # The index of an mp4 lists every packet, and so says how many a cut file has lost; others list some.
        listed = len(self.stream.index_entries) if self.container.format.name.startswith("mov") else 0
        n_all = max(self._n_read, listed if self.is_whole else 0)
        n_decoded = self._n_read - self._n_failed
        n_lost, kind = n_all - n_decoded, self.stream.type
        if 2 * n_lost > n_all:
            lost = f"{n_lost} of {n_all} packets cannot be decoded"
            reason = f", or have more than {MAX_PIXELS} pixels" if kind == "video" and n_decoded == 0 else ""
            raise MediaError(f"most of the {kind} track is damaged: {lost}{reason}")
        if n_lost:
            self.notes.append(f"damaged: {max(1, round(100 * n_lost / n_all))} % of the {kind} track is lost")


def packets(container: InputContainer, tracks: list[av.stream.Stream]) -> Iterator[av.Packet]:
    """Packets of some tracks, reading on behind places that cannot be read. Raises FFmpegError if there is none."""
    n_before = n_read = 0
    for _ in range(READING_ERRORS):
        try:
            for packet in container.demux(tracks):
                if packet.size:  # others only tell the decoder that the track ends
                    n_read += 1
                    yield packet
            return
        except av.FFmpegError:
            if n_read == 0:
                raise
            if n_read == n_before:
                return
        n_before = n_read


class Clock:
    """Makes time stamps that start again midway, or leap ahead because one is damaged, go on from where they were."""

    def __init__(self, tolerance: float):
        self.tolerance, self.latest, self.shift = tolerance, -math.inf, 0.0

    def read(self, seconds: float, *, step: float) -> float:
        """The time of a stamp; at a restart or a leap, `step` after the latest one."""
        ahead = seconds + self.shift - self.latest
        if ahead < -self.tolerance or LEAP < ahead < math.inf:
            self.shift = self.latest + step - seconds
        self.latest = max(self.latest, seconds + self.shift)
        return seconds + self.shift
