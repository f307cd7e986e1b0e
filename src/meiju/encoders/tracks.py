"""Opens clips, chooses the track that a player takes, and decodes what of it can be decoded."""

import errno
import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
from av.stream import Disposition

from meiju.utils import files, system

# Contents that a clip may have, by the names of libav's demuxers. Others read playlists, which lead to other files,
# texts, or pictures one by one, whatever the ending of the file's name.
FORMATS = (
    *("mov", "matroska", "avi", "flv", "asf", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "rm", "dv", "mxf"),
    *("nut", "ivf", "obu", "ogg", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "ac3", "eac3", "amr", "wv"),
    *("ape", "tta"),
)
MAX_PIXELS = 8192 * 4320  # of a picture, the largest that cameras write; decoding takes memory and time for each

LEAP = 3600  # seconds from one time stamp to the next that no clip has
READING_ERRORS = 100  # after which a file is not read on

COVER = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image  # no film
BESIDE = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired  # not what was filmed


class MediaError(Exception):
    """Why a clip gives no frames or no sound. The caller adds the clip's name."""


@contextmanager
def opened(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Open a file; errors of libav become MediaErrors, and those of the system Unreadable.

    A file that does not exist stays a FileNotFoundError: the path is wrong, not the clip. A file that was cut off
    between two packets is no error for libav, and gives what is left.
    """
    try:
        # Python reads the file for libav, which would take a drive's error midway for the end of the clip.
        with _Reader(path) as file, _container(file) as container:
            yield container
    except FileNotFoundError:
        raise
    except (av.FFmpegError, OSError) as error:
        if system.is_system_error(error) and not (isinstance(error, av.FFmpegError) and _is_damage(path, error)):
            raise system.unreadable(path, error) from error
        if not isinstance(error, av.FFmpegError):
            raise
        if files.is_lfs_pointer(Path(path)):
            raise MediaError(files.LFS_POINTER) from None
        if isinstance(error, av.ArgumentError):  # how libav refuses contents that are not on the list
            raise MediaError("not decodable: by its contents, the file is neither film nor sound") from None
        raise MediaError(f"not decodable: {error.strerror}") from error


class _Reader(io.FileIO):
    """A file as libav reads it: where contents lead to a place that cannot be, it is told so by a number."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return -errno.EINVAL
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return -errno.EINVAL


def _container(file: _Reader) -> av.container.InputContainer:
    # libav reads no other file: it has got no protocol to do so.
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
def opened_track(path: str | Path, kind: str, notes: list[str] | None) -> Iterator["Track"]:
    """Open a file and the track of a kind ('video', 'audio') that a player takes."""
    with opened(path) as container:
        tracks = films(getattr(container.streams, kind))
        if not tracks:
            raise MediaError(f"there is no {kind} track")
        decodable = [track for track in tracks if track.codec_context is not None]
        if not decodable:
            raise MediaError(f"the {kind} track is of no kind that can be decoded")
        chosen = min(decodable, key=lambda t: (bool(t.disposition & BESIDE), not t.disposition & Disposition.default))
        yield Track(container, chosen, [] if notes is None else notes)


def films(tracks: Iterable[av.stream.Stream]) -> list[av.stream.Stream]:
    """The tracks without pictures that only stand for the clip, such as cover art."""
    return [track for track in tracks if not track.disposition & COVER]


class Track:
    """A track of an open file. It gives what can be decoded, and notes how much cannot."""

    def __init__(self, container: av.container.InputContainer, stream: av.stream.Stream, notes: list[str]):
        self.container, self.stream, self.notes = container, stream, notes
        stream.codec_context.thread_count = 1  # clips are decoded in parallel, one per process
        if stream.type == "video":
            require_pixels(stream.width, stream.height)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # again, as pictures can grow midway

    @property
    def aspect(self) -> float:
        """How many times a stored pixel is as wide as high."""
        return float(self.stream.sample_aspect_ratio or 1)

    def frames(self) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """All frames that can be decoded. Raises MediaError at the end if more than half of the packets cannot."""
        n_read = n_failed = 0
        for packet in packets(self.container, [self.stream]):
            n_read += 1
            try:
                yield from packet.decode()
            except av.FFmpegError:
                n_failed += 1
        end = av.Packet()  # with nothing in it, it brings out what waits inside the decoder
        end.stream, end.time_base = self.stream, self.stream.time_base
        with suppress(av.FFmpegError):
            yield from end.decode()
        self._judge(n_read - n_failed, n_read)

    def _judge(self, n_decoded: int, n_read: int) -> None:
        # The index of an mp4 lists every packet, and so says how many a cut file has lost; others list some.
        listed = len(self.stream.index_entries) if self.container.format.name.startswith("mov") else 0
        n_all = max(n_read, listed)
        n_lost, kind = n_all - n_decoded, self.stream.type
        if kind == "video" and n_read and n_decoded == 0 and self.stream.width == 0:
            raise MediaError(f"the pictures cannot be decoded, or have more than {_millions(MAX_PIXELS)} pixels")
        if 2 * n_lost > n_all:
            raise MediaError(f"most of the {kind} track is damaged: {n_lost} of {n_all} packets cannot be decoded")
        if n_lost:
            self.notes.append(f"damaged: {max(1, round(100 * n_lost / n_all))} % of the {kind} track is lost")


def packets(container: av.container.InputContainer, tracks: list[av.stream.Stream]) -> Iterator[av.Packet]:
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


def require_pixels(width: int, height: int) -> None:
    """Raise MediaError for a picture of more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"the pictures are too large: {width} × {height} pixels, of at most {_millions(MAX_PIXELS)} in all"
        )


def _millions(n: int) -> str:
    return f"{n / 1e6:.0f} million"
