"""Clips and models that others may hand over: containers that say odd things, and models that are damaged or ill meant.

As in fuzzing.kinds, each function makes one input, reads it, and says in a word how that ended.
"""

import io
import json
import struct
import wave
from pathlib import Path

import av
import numpy as np
import torch
from transformers import AutoModel  # now, as importing it takes seconds

from fuzzing import mutations
from fuzzing.bench import RIGHT, Case, expect
from meiju.features import media
from meiju.utils import hub
from toy_models import write_bert
from whole_clips import read_audio

ENDINGS = (".mkv", ".ts", ".mov", ".flv", ".nut")
PLAYLISTS = (
    "ffconcat version 1.0\nfile {0}\n" * 20,
    "#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
    "<?xml version='1.0'?><MPD><Period><BaseURL>{0}</BaseURL></Period></MPD>",
)
PLAIN = 65536  # 1 in the fixed-point numbers of a display matrix


def container(case: Case) -> str:
    """A clip whose container says odd things, in parts damaged or joined; or a playlist that names one."""
    rng, path = case.rng, case.folder / f"a{case.rng.choice(('.mp4', *ENDINGS))}"
    match rng.randrange(5):
        case 0:
            path.write_text(rng.choice(PLAYLISTS).format(case.bench.clip))
        case 1:
            path.write_bytes(_with_matrix(case.bench.clip.read_bytes(), rng))
        case 2:
            path.write_bytes(_odd_wav(rng))
        case _:
            _remux(case.bench.clip, path, rng)
    notes: list[str] = []
    seconds = media.read_seconds(path)
    expect(0 <= seconds < 1e6, "a clip of no time, or of days")
    expect(seconds < 10 or "ffconcat" not in path.read_bytes()[:20].decode("latin-1"), "a playlist was opened")
    if rng.random() < 0.5:
        pictures = media.pictures(path, fps=4, shorter=24, notes=notes)
        expect(all(image.ndim == 3 and image.dtype == np.uint8 for image in pictures), "pictures of another form")
    else:
        samples = read_audio(path, notes=notes)
        expect(samples.ndim == 1 and bool(np.isfinite(samples).all()), "sound of another form")
    expect(all(note.isprintable() for note in notes), "a note that is not one line")
    return "right, with a note" if notes else RIGHT


def model(case: Case) -> str:
    """A pretrained model that is damaged, or would run code."""
    rng, folder = case.rng, case.folder / "model"
    write_bert(folder, "你好")
    config, weights = folder / "config.json", folder / "model.safetensors"
    match rng.randrange(4):
        case 0:
            weights.unlink()
            torch.save({"weight": case.payload}, folder / "pytorch_model.bin")
        case 1:
            code = f"from pathlib import Path\nPath({str(case.payload.path)!r}).touch()\nclass A: pass\n"
            (folder / "code.py").write_text(code)
            settings = json.loads(config.read_text()) | {"auto_map": {"AutoConfig": "code.A", "AutoModel": "code.A"}}
            config.write_text(json.dumps(settings | {"model_type": rng.choice(("bert", "other"))}))
        case 2:
            path = rng.choice((config, weights, folder / "tokenizer.json"))
            path.write_bytes(mutations.damage(path.read_bytes(), rng))
        case 3:
            # Without the numbers that decide how much memory a network takes.
            settings = {key: v for key, v in json.loads(config.read_text()).items() if type(v) is not int}
            config.write_text(json.dumps(mutations.change(settings, rng)))
    hub.load_tokenizer(str(folder))
    hub.load(AutoModel, str(folder))
    return RIGHT


def _with_matrix(data: bytes, rng) -> bytes:
    """A clip with another display matrix in its tracks' headers (tkhd, version 0)."""
    numbers = [rng.choice((0, PLAIN, -PLAIN, 1, -(2**31), 2**31 - 1)) for _ in range(9)]
    at = data.find(b"tkhd")
    while at >= 0:
        start = at + 4 + 40
        data = data[:start] + struct.pack(">9i", *numbers) + data[start + 36 :]
        at = data.find(b"tkhd", at + 4)
    return data


def _odd_wav(rng) -> bytes:
    """Sound of many channels and odd rates, or of floats that are no numbers."""
    buffer, channels = io.BytesIO(), rng.choice((1, 2, 3, 7, 9, 20, 64))
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rng.choice((1, 100, 8000, 44_100, 400_000)), 0, "NONE", ""))
        file.writeframes(rng.randbytes(2 * channels * rng.choice((0, 1, 500))))
    data = buffer.getvalue()
    if rng.random() < 0.3:  # format 3: floats
        data = data[:20] + struct.pack("<H", 3) + data[22:34] + struct.pack("<H", 32) + data[36:]
    return data


def _remux(source: Path, target: Path, rng) -> None:
    """The tracks in another container, with packets damaged, left out, or stamped anew; at times twice."""
    harm = rng.choice(("nothing", "damage", "drop", "restart", "twice"))
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        tracks = {track.index: new.add_stream_from_template(track) for track in old.streams}
        for packet in old.demux():
            if packet.dts is None or (harm == "drop" and rng.random() < 0.3):
                continue
            packet.stream = tracks[packet.stream.index]
            new.mux(packet)
    data = target.read_bytes()
    if harm == "damage":
        data = mutations.damage(data, rng)
    target.write_bytes(data * 2 if harm == "twice" else data)
