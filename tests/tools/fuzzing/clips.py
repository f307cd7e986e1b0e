"""Clips whose bytes are damaged, or whose containers say odd things."""

import io
import random
import struct
import wave
from pathlib import Path

import av

from fuzzing import mutations
from fuzzing.bench import Case

ENDINGS = (".mp4", ".mkv", ".ts", ".mov", ".flv", ".nut")
PLAYLISTS = (
    "ffconcat version 1.0\nfile {0}\n" * 20,
    "#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
    "<?xml version='1.0'?><MPD><Period><BaseURL>{0}</BaseURL></Period></MPD>",
)
PLAIN = 65536  # 1 in the fixed-point numbers of a display matrix


def odd_clip(case: Case) -> Path:
    """A clip that is damaged, turned, of odd sound, in another container; or a playlist that names one."""
    rng, source = case.rng, case.bench.clip
    path = case.folder / f"a{rng.choice(ENDINGS)}"
    match rng.randrange(8):
        case 0:
            path.write_text(rng.choice(PLAYLISTS).format(source))
        case 1:
            path.write_bytes(_with_matrix(source.read_bytes(), rng))
        case 2:
            path.write_bytes(_odd_wav(rng))
        case 3 | 4:
            _remux(source, path, rng)
        case _:
            path.write_bytes(mutations.damage(source.read_bytes(), rng))
    return path


def _with_matrix(data: bytes, rng: random.Random) -> bytes:
    """A clip with another display matrix in its tracks' headers (tkhd, version 0)."""
    numbers = [rng.choice((0, PLAIN, -PLAIN, 1, -(2**31), 2**31 - 1)) for _ in range(9)]
    first, *tracks = data.split(b"tkhd")
    return b"tkhd".join([first, *(track[:40] + struct.pack(">9i", *numbers) + track[76:] for track in tracks)])


def _odd_wav(rng: random.Random) -> bytes:
    """Sound of many channels and odd rates, or of floats that are no numbers."""
    buffer, channels = io.BytesIO(), rng.choice((1, 2, 3, 7, 9, 20, 64))
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rng.choice((1, 100, 8000, 44_100, 400_000)), 0, "NONE", ""))
        file.writeframes(rng.randbytes(2 * channels * rng.choice((0, 1, 500))))
    data = buffer.getvalue()
    floats = data[:20] + struct.pack("<H", 3) + data[22:34] + struct.pack("<H", 32) + data[36:]  # format 3
    return floats if rng.random() < 0.3 else data


def _remux(source: Path, target: Path, rng: random.Random) -> None:
    """The tracks in another container, at times with packets left out, with damage, or twice."""
    kept = rng.choice((1, 1, 1, 0.7))
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        tracks = {track.index: new.add_stream_from_template(track) for track in old.streams}
        for packet in old.demux():
            if packet.dts is not None and rng.random() < kept:
                packet.stream = tracks[packet.stream.index]
                new.mux(packet)
    data = target.read_bytes()
    target.write_bytes(rng.choice((data, data * 2, mutations.damage(data, rng))))
