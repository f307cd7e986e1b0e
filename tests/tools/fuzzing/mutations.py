"""Ways of damaging what a program reads: bytes, texts, arrays and JSON values. All randomness is handed in."""

import csv
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fuzzing.bench import Case

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "\t=1", "\r=1", "=cmd|' /C calc'!A0")
MARKUP = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7*7 }}", "&lt;b&gt;", "]]>", "<!--")
PATHS = ("../../escaped", "/escaped", "..\\..\\escaped", "a/b", ".", "..", "con", ".hidden", "a:b", "~", "$HOME")
ODD = ("", " ", "\x00", "\ufeff", "\ud800", "\udcff", "\u202e", "\u2028", "e\u0301" * 50, "👩\u200d👩\u200d👧")
ODD += ("NaN", "None", "null", "1e999", "9" * 400, '"', "'", ",", "\n", "a\r\nb", "$x$", "$\\frac", "%s%n", "走" * 5000)
ODD += ("nan", "-0", "TRUE")
TEXTS = FORMULAS + MARKUP + PATHS + ODD

NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), True)
VALUES = (None, [], {}, [[]], [None], {"": None}, [1, "a"], "", "x", *NUMBERS)

DTYPES = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "S3", "M8[s]", "O", "V4", "f4,i4", ">f4", ">f8")


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
    match rng.randrange(4):
        case 0:
            return rng.choice(TEXTS)
        case 1:
            return rng.choice(TEXTS) + rng.choice(TEXTS)
        case 2:
            return "".join(
                chr(rng.choice((rng.randrange(128), rng.randrange(0x110000)))) for _ in range(rng.randrange(40))
            )
    return "".join(rng.choice("今天你去哪里了吗好的 ，。？！,.?!ab1") for _ in range(rng.randrange(60)))


def utf8(text: str) -> str:
    """The text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def value(rng: random.Random) -> object:
    """A JSON value of any kind; numbers that are none among them."""
    return rng.choice((rng.choice(VALUES), utf8(text(rng))))


def change(tree: object, rng: random.Random) -> object:
    """A JSON value in which one place holds something else, is gone, or is new."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = rng.choice(sorted(tree))
        match rng.randrange(8):
            case 0:
                return {k: v for k, v in tree.items() if k != key}
            case 1:
                return tree | {utf8(text(rng)): value(rng)}
        return tree | {key: change(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.7:
        k = rng.randrange(len(tree))
        return [*tree[:k], change(tree[k], rng), *tree[k + 1 :]]
    return value(rng)


def array(rng: random.Random, like: np.ndarray, payload: object) -> np.ndarray:
    """An array of another shape or kind, or with numbers in it that are none; one of objects holds `payload`."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    match rng.randrange(5):
        case 0:
            return np.array(payload, dtype=object)
        case 1:
            shape = tuple(rng.choice((0, 1, 2, 3, *like.shape)) for _ in range(rng.randrange(4)))
            return numbers.normal(size=shape).astype(like.dtype if like.dtype.kind == "f" else np.float32)
        case 2:
            dtype = rng.choice([d for d in DTYPES if d != "O"])
            return np.zeros(like.shape, dtype)
        case 3 if like.dtype.kind == "f" and like.size:
            changed = like.copy()
            bad = rng.choice((np.nan, np.inf, -np.inf, 6e4, np.finfo(like.dtype).max))
            changed.reshape(-1)[rng.randrange(like.size)] = bad
            return changed
    axis = rng.randrange(like.ndim) if like.ndim else 0
    return np.repeat(like, 2, axis=axis) if like.ndim and rng.random() < 0.5 else like[..., None]


class Payload:
    """What a pickle that is loaded would do: leave a file that tells of it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


HUGE = 300 * 2**20  # bytes that a bomb unpacks to


def bad_csv(data: bytes, rng: random.Random) -> bytes:
    """A table with damaged bytes, or whole and with a cell that is odd, gone, or there twice."""
    if rng.random() < 0.35:
        return damage(data, rng)
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    for _ in range(rng.choice((1, 1, 3))):
        k = rng.randrange(len(rows))
        cells, j = rows[k], rng.randrange(max(1, len(rows[k])))
        odd = text(rng) if rng.random() < 0.7 else str(rng.choice(NUMBERS))
        other = [*cells[:j], utf8(odd), *cells[j + 1 :]]
        rows[k : k + 1] = rng.choice(
            ([cells, cells], [cells[:j] + cells[j + 1 :]], [[*cells, "x"]], [], [other], [other], [other], [other])
        )
        if rng.random() < 0.1:
            rng.shuffle(rows)
        if not rows:
            return b""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    writer.writerows(rows)
    encoding = rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "gb18030"))
    return buffer.getvalue().encode(encoding)


def bad_npy(like: np.ndarray, case: "Case") -> bytes:
    """An array that is damaged, of another kind, a pickle, or smaller than it says."""
    match case.rng.randrange(5):
        case 0:
            return damage(to_npy(like), case.rng)
        case 1:
            return pickle.dumps(case.payload)
        case 2:
            shape = case.rng.choice(((10**12, 4), (2**62, 8), (-1, 4)))
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            buffer = io.BytesIO()
            np.lib.format.write_array_header_1_0(buffer, header)
            return buffer.getvalue() + bytes(64)
    return to_npy(array(case.rng, like, case.payload))


def bad_npz(path: Path, case: "Case") -> bytes:
    """An archive of arrays in which bytes are damaged, or one array is of another kind, or gone."""
    if case.rng.random() < 0.3:
        return damage(path.read_bytes(), case.rng)
    with np.load(path) as arrays:
        entries = {f"{key}.npy": to_npy(arrays[key]) for key in arrays.files}
        key = case.rng.choice(arrays.files)
        entries[f"{key}.npy"] = bad_npy(arrays[key], case)
    if case.rng.random() < 0.1:
        del entries[f"{key}.npy"]
    return to_zip(entries) if case.rng.random() < 0.8 else bad_zip(entries, case, like=".npy")


def bad_zip(entries: dict[str, bytes], case: "Case", *, like: str) -> bytes:
    """A zip that is damaged, or holds entries that would leave the folder, or unpack to more than anybody wants."""
    rng, outside = case.rng, case.folder.parent / f"escaped{like}"
    data = to_zip(entries)
    match rng.randrange(6):
        case 0:
            return damage(data, rng)
        case 1:
            name = rng.choice((f"../escaped{like}", f"../../escaped{like}", str(outside), f"..\\escaped{like}"))
            return to_zip(entries | {name: b"x"})
        case 2:
            first = next(iter(entries))
            above = rng.choice(("..", "../..", outside.parent))
            return to_zip({f"{above}/{k}" if k == first else k: v for k, v in entries.items()})
        case 3 if rng.random() < 0.02:  # unpacking takes long
            return to_zip(entries | {next(iter(entries)): bytes(HUGE)}, zipfile.ZIP_DEFLATED)
        case 4:
            method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            return damage(to_zip(entries, method), rng) if rng.random() < 0.5 else to_zip(entries, method)
    return to_zip(entries | {f"{utf8(text(rng))}{like}": b"x"})


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
