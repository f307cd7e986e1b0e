"""Ways of damaging what a program reads: bytes, texts, arrays and JSON values. All randomness is handed in."""

import random
from pathlib import Path

import numpy as np

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "\t=1", "\r=1", "=cmd|' /C calc'!A0")
MARKUP = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7*7 }}", "&lt;b&gt;", "]]>", "<!--")
PATHS = ("../../escaped", "/escaped", "..\\..\\escaped", "a/b", ".", "..", "con", ".hidden", "a:b", "~", "$HOME")
ODD = (
    "",
    " ",
    "\x00",
    "\ufeff",
    "\ud800",
    "\udcff",
    "\u202e",
    "\u2028",
    "e\u0301" * 50,
    "👩‍👩‍👧",
    "NaN",
    "None",
    "null",
)
ODD += ("1e999", "9" * 400, '"', "'", ",", "\n", "a\r\nb", "$x$", "$\\frac", "%s%n", "走" * 5000, "nan", "-0", "TRUE")
TEXTS = FORMULAS + MARKUP + PATHS + ODD

NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), True)
VALUES = (None, [], {}, [[]], [None], {"": None}, [1, "a"], "", "x", *NUMBERS)

DTYPES = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "S3", "M8[s]", "O", "V4", "f4,i4", ">f4", ">f8")


def damage(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them flipped, cut off, put in, repeated or zeroed; at times none are left."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        b = min(b, a + 4096)
        match rng.randrange(8):
            case 0 | 1:
                spot = bytearray(data)
                for _ in range(rng.choice((1, 3, 30))):
                    if spot:
                        spot[rng.randrange(len(spot))] ^= 1 << rng.randrange(8)
                data = bytes(spot)
            case 2:
                data = data[: rng.choice((a, len(data) - 1))]
            case 3:
                data = data[:a] + rng.randbytes(rng.choice((1, 8, 300))) + data[a:]
            case 4:
                data = data[:b] + data[a:]
            case 5:
                data = data[:a] + bytes(b - a) + data[b:]
            case 6:
                data = data[:a] + data[b:]
            case 7:
                head = data[:512]  # where the sizes stand
                data = damage(head, rng) + data[512:] if len(data) > 512 else rng.choice((b"", data[::-1]))
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
