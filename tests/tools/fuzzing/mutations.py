"""Ways of damaging what a program reads: bytes, texts, clips, and what files hold. All randomness is handed in.

case: see `fuzzing.bench.Case`.
"""

import csv
import io
import json
import pickle
import random
import struct
import wave
import zipfile
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import load, save

TEXTS = (
    *("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "\t=1", "\r=1", "=cmd|' /C calc'!A0"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7*7 }}", "&lt;b&gt;", "]]>", "<!--"),
    *("../../escaped", "/escaped", "..\\..\\escaped", "a/b", ".", "..", "con", ".hidden", "a:b", "~", "$HOME"),
    *("", " ", "\x00", "\ufeff", "\ud800", "\udcff", "\u202e", "\u2028", "e\u0301" * 50, "👩\u200d👩\u200d👧"),
    *("NaN", "None", "null", "1e999", "9" * 400, '"', "'", ",", "\n", "a\r\nb", "$x$", "$\\frac", "%s%n", "走" * 5000),
    *("nan", "-0", "TRUE"),
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), True)
VALUES = (None, [], {}, [[]], [None], {"": None}, [1, "a"], "", "x", *NUMBERS)
DTYPES = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "S3", "M8[s]", "V4", "f4,i4", ">f4", ">f8")
ENDINGS = (".mp4", ".mkv", ".ts", ".mov", ".flv", ".nut")
PLAYLISTS = (
    "ffconcat version 1.0\nfile {0}\n" * 20,
    "#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
    "<?xml version='1.0'?><MPD><Period><BaseURL>{0}</BaseURL></Period></MPD>",
)
PLAIN = 65536  # 1 in the fixed-point numbers of a display matrix
HUGE = 300 * 2**20  # bytes that a bomb unpacks to


def spoil(data: bytes, ending: str, case) -> bytes:
    """What a file of an ending holds, with bytes damaged, or whole and with something in it that is odd."""
    if ending not in ODD or case.rng.random() < 0.3:
        return damage(data, case.rng)
    return ODD[ending](data, case)


def damage(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them flipped, cut off, put in, repeated or zeroed; at times none are left."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        b = min(b, a + 4096)
        harm = rng.choice(("flip", "flip", "cut", "insert", "repeat", "zero", "drop", "head"))
        if harm == "flip" and data:
            spot = bytearray(data)
            for _ in range(rng.choice((1, 3, 30))):
                spot[rng.randrange(len(spot))] ^= 1 << rng.randrange(8)
            data = bytes(spot)
        elif harm == "cut":
            data = data[: rng.choice((a, len(data) - 1))]
        elif harm == "head":  # where the sizes stand
            data = damage(data[:512], rng) + data[512:] if len(data) > 512 else rng.choice((b"", data[::-1]))
        else:
            new = {"insert": rng.randbytes(rng.choice((1, 8, 300))), "repeat": data[a:b] * 2, "zero": bytes(b - a)}
            data = data[:a] + new.get(harm, b"") + (data[a:] if harm == "insert" else data[b:])
    return data


def text(rng: random.Random) -> str:
    """A text that somebody may mean ill with, or any characters at all, lone halves of surrogate pairs among them."""
    anything = (chr(rng.choice((rng.randrange(128), rng.randrange(0x110000)))) for _ in range(rng.randrange(40)))
    usual = (rng.choice("今天你去哪里了吗好的 ，。？！,.?!ab1") for _ in range(rng.randrange(60)))
    return rng.choice((rng.choice(TEXTS), rng.choice(TEXTS) + rng.choice(TEXTS), "".join(anything), "".join(usual)))


def utf8(text: str) -> str:
    """The text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def value(rng: random.Random) -> object:
    """A JSON value of any kind; numbers that are none among them."""
    return rng.choice((rng.choice(VALUES), utf8(text(rng))))


def change(tree: object, rng: random.Random) -> object:
    """A JSON value in which one place holds something else, is gone, or is new."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key, new = rng.choice(sorted(tree)), utf8(text(rng))
        without = {k: v for k, v in tree.items() if k != key}
        return rng.choice((without, tree | {new: value(rng)}, *[tree | {key: change(tree[key], rng)}] * 6))
    if isinstance(tree, list) and tree and rng.random() < 0.7:
        k = rng.randrange(len(tree))
        return [*tree[:k], change(tree[k], rng), *tree[k + 1 :]]
    return value(rng)


def array(rng: random.Random, like: np.ndarray) -> np.ndarray:
    """An array of another shape or kind, or with numbers in it that are none."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    dtype = like.dtype if like.dtype.kind == "f" else np.float32
    spot = numbers.normal(size=like.shape).astype(dtype)
    if spot.size:
        spot.flat[rng.randrange(spot.size)] = rng.choice((np.nan, np.inf, -np.inf, 6e4, np.finfo(dtype).max))
    shape = tuple(rng.choice((0, 1, 2, 3, *like.shape)) for _ in range(rng.randrange(4)))
    other_kind, twice = np.zeros(like.shape, rng.choice(DTYPES)), np.repeat(like, 2, axis=-1) if like.ndim else like
    return rng.choice((numbers.normal(size=shape).astype(dtype), other_kind, spot, twice, like[..., None]))


class Payload:
    """What a pickle that is loaded would do: leave a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def odd_csv(data: bytes, case) -> bytes:
    """A table with cells and rows that are odd, gone, or there twice, in any encoding."""
    rng, buffer = case.rng, io.StringIO(newline="")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    for _ in range(rng.choice((1, 1, 3))):
        k = rng.randrange(len(rows))
        cells, j = rows[k], rng.randrange(max(1, len(rows[k])))
        other = [*cells[:j], utf8(rng.choice((text(rng), text(rng), str(rng.choice(NUMBERS))))), *cells[j + 1 :]]
        twice, shorter, longer = [cells, cells], [cells[:j] + cells[j + 1 :]], [[*cells, "x"]]
        rows[k : k + 1] = rng.choice((twice, shorter, longer, [], *[[other]] * 4))
        if rng.random() < 0.1:
            rng.shuffle(rows)
        if not rows:
            return b""
    csv.writer(buffer, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
    return buffer.getvalue().encode(rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "gb18030")))


def odd_json(data: bytes, case) -> bytes:
    changed = change(json.loads(data), case.rng)
    return json.dumps(changed, ensure_ascii=case.rng.random() < 0.5).encode()


def odd_npy(data: bytes, case) -> bytes:
    """An array of another kind, a pickle or one of pickled objects, or smaller than it says."""
    rng, buffer = case.rng, io.BytesIO()
    match rng.randrange(5):
        case 0:
            return pickle.dumps(case.payload)
        case 1:
            shape = rng.choice(((10**12, 4), (2**62, 8), (-1, 4)))
            np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
            return buffer.getvalue() + bytes(64)
        case 2:
            return to_npy(np.array(case.payload, dtype=object))
    return to_npy(array(rng, np.load(io.BytesIO(data))))


def odd_safetensors(data: bytes, case) -> bytes:
    """Weights of which one is gone, has another name, or is another array."""
    rng, state = case.rng, load(data)
    # What else the header holds: its length, then JSON.
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
    key = rng.choice(sorted(state))
    changed = array(rng, state.pop(key).numpy())
    if rng.random() < 0.8 and changed.dtype.kind in "fiub" and changed.dtype.isnative and not changed.dtype.fields:
        state[rng.choice((key, key, key, "other"))] = torch.from_numpy(changed.copy())
    return save(state, metadata)


def odd_zip(data: bytes, case) -> bytes:
    """An archive with an entry that is bad, gone, of an odd name, would leave the folder, or unpacks to too much."""
    rng = case.rng
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name, method = rng.choice(sorted(entries)), rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    ending, outside = Path(name).suffix, case.folder.parent
    match rng.randrange(8):
        case 0:
            climbing = (f"../escaped{ending}", f"../../escaped{ending}", f"{outside}/escaped", f"..\\escaped{ending}")
            return to_zip(entries | {rng.choice(climbing): b"x"})
        case 1:
            above = rng.choice(("..", "../..", outside))
            return to_zip({f"{above}/{k}" if k == name else k: v for k, v in entries.items()})
        case 2:
            return to_zip({k: v for k, v in entries.items() if k != name}, method)
        case 3:
            return to_zip(entries | {f"{utf8(text(rng))}{ending}": b"x"}, method)
        case 4 if rng.random() < 0.1:  # unpacking takes long
            return to_zip(entries | {name: bytes(HUGE)}, zipfile.ZIP_DEFLATED)
    return to_zip(entries | {name: spoil(entries[name], ending, case)})


def odd_clip(case) -> Path:
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
            path.write_bytes(damage(source.read_bytes(), rng))
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
    target.write_bytes(rng.choice((data, data * 2, damage(data, rng))))


ODD = {".csv": odd_csv, ".json": odd_json, ".npy": odd_npy, ".safetensors": odd_safetensors}
ODD |= dict.fromkeys((".npz", ".zip"), odd_zip)


def to_zip(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return buffer.getvalue()


def to_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()
