"""Pictures of a drawn face; clips of noise, whose packets are large, and clips that are damaged."""

from pathlib import Path

import av
import numpy as np

from meiju.features.media import write_clip
from meiju.sample.drawing import draw_face, draw_speaker


def draw_pictures(emotion: str = "neutral", *, n: int = 3, seed: int = 0) -> np.ndarray:
    """Pictures [n, 96, 96, 3] of a face whose expression grows; the seed decides who it is."""
    rng = np.random.default_rng(seed)
    return draw_face(draw_speaker(rng), emotion, "neutral", speech=np.zeros(n, np.float32), rng=rng)


def write_noise(path: Path, *, pictures=True, sound=True, n_pictures: int = 5, seconds: float = 1) -> Path:
    """A clip of random pictures and sound, or of one of them."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (n_pictures, 96, 96, 3), dtype=np.uint8) if pictures else None
    samples = rng.normal(0, 0.1, round(16_000 * seconds)) if sound else None
    write_clip(path, frames, samples, fps=round(n_pictures / seconds))
    return path


def damage_packet(path: Path, kind: str, number: int) -> None:
    """Overwrite one packet of a track (video or audio) of a clip."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(**{kind: 0}) if packet.size]
    start, size = packets[number]
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
