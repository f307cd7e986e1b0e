"""Draws the sample corpus's clips: a face that moves and a voice that hums, with numpy only.

Both follow an emotion and an intent, shifted by the habits of the speaker and of the clip. Nothing here is meant to
look or sound real; it is meant to need the same handling as real clips.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 96  # pixels, both ways
FPS = 8
RATE = 16_000  # Hz
N_HARMONICS = 10

# What a face does at full strength, as departures from rest: corners of the mouth up, mouth open, eyes open,
# inner ends of the brows up, brows up, mouth drawn to one side.
EXPRESSIONS = {
    "happy": (0.9, 0.3, -0.2, 0.0, 0.1, 0.0),
    "surprise": (0.0, 0.9, 0.6, 0.0, 0.9, 0.0),
    "sad": (-0.8, 0.0, -0.3, 0.8, 0.1, 0.0),
    "disgust": (-0.4, 0.1, -0.5, -0.5, -0.2, 0.8),
    "anger": (-0.7, 0.2, 0.1, -1.0, -0.4, 0.0),
    "fear": (-0.3, 0.5, 0.6, 0.7, 0.5, 0.0),
    "neutral": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
# What the head does: nods (pixels), tilts (radians), comes closer (share of its size).
GESTURES = {
    "questioning": (0.0, 0.26, 0.0),
    "agreeing": (6.0, 0.0, 0.0),
    "acknowledging": (4.0, 0.0, -0.10),
    "encouraging": (2.0, 0.0, 0.20),
    "consoling": (0.0, -0.22, 0.10),
    "suggesting": (0.0, 0.0, 0.15),
    "wishing": (0.0, 0.10, -0.12),
    "neutral": (0.0, 0.0, 0.0),
}
# What a voice does: pitch (semitones), range of pitch (semitones), gain (dB), syllables a second (ratio),
# brightness (exponent of the harmonics' decay), tremor (semitones).
PROSODIES = {
    "happy": (4.0, 3.0, 3.0, 1.15, -0.2, 0.2),
    "surprise": (6.0, 5.0, 2.0, 0.95, -0.1, 0.1),
    "sad": (-3.0, 0.8, -6.0, 0.70, 0.5, 0.3),
    "disgust": (-4.0, 2.0, -1.0, 0.80, -0.1, 0.0),
    "anger": (2.0, 3.0, 7.0, 1.25, -0.6, 0.1),
    "fear": (5.0, 1.5, -3.0, 1.35, 0.3, 0.9),
    "neutral": (0.0, 1.2, 0.0, 1.00, 0.0, 0.0),
}
# What an intent adds to the last third of it: pitch (semitones), gain (dB).
INTONATIONS = {
    "questioning": (9.0, 2.0),
    "agreeing": (-5.0, 3.0),
    "acknowledging": (-3.0, -6.0),
    "encouraging": (3.0, 8.0),
    "consoling": (-7.0, -8.0),
    "suggesting": (5.0, -2.0),
    "wishing": (0.0, 5.0),
    "neutral": (-1.0, 0.0),
}


@dataclass(frozen=True)
class Speaker:
    """What stays with a person from clip to clip."""

    skin: np.ndarray  # [3] RGB, 0 to 1
    hair: np.ndarray  # [3] RGB, 0 to 1
    width: float  # of the face, as a share of its height
    face_habit: np.ndarray  # [6] added to every expression
    pitch: float  # Hz
    voice_habit: np.ndarray  # [6] added to every prosody


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """A person with a look, a voice, and habits in using them, in the units of EXPRESSIONS and PROSODIES."""
    lightness = rng.uniform(0.75, 1.0)
    return Speaker(
        skin=lightness * np.array([0.98, 0.80, 0.66]) + rng.normal(0, 0.02, 3),
        hair=rng.uniform(0.05, 0.35) * np.array([1.0, 0.8, 0.6]),
        width=rng.uniform(0.74, 0.82),
        face_habit=rng.normal(0, 0.10, 6),
        pitch=rng.choice([115, 205]) * 2 ** rng.normal(0, 0.10),
        voice_habit=rng.normal(0, 1, 6) * [0, 0.4, 1.2, 0.06, 0.08, 0.06],
    )


def draw_voice(speaker: Speaker, emotion: str, intent: str, *, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A hummed sentence [seconds * RATE] float32: syllables of a harmonic tone over noise and other sounds."""
    prosody = np.array(PROSODIES[emotion]) * rng.uniform(0.8, 1.2) + speaker.voice_habit
    shift, deviation, gain, tempo, decay, tremor = prosody + rng.normal(0, 1, 6) * [0.8, 0.3, 1.0, 0.05, 0.08, 0.06]
    final_pitch, final_gain = INTONATIONS[intent]
    time = np.arange(int(seconds * RATE)) / RATE
    ending = np.clip(3 * time / seconds - 2, 0, 1)

    n_syllables = max(2, round(4 * max(tempo, 0.5) * seconds))
    syllable = np.minimum((time / seconds * n_syllables).astype(int), n_syllables - 1)
    steps = rng.normal(0, max(deviation, 0.1), n_syllables)[syllable]
    vibrato = max(tremor, 0) * np.sin(2 * np.pi * 6.5 * time)
    pitch = speaker.pitch * 2 ** ((shift + steps + vibrato + final_pitch * ending) / 12)

    envelope = np.sin(np.pi * (time / seconds * n_syllables % 1)) ** 0.7 * 10 ** ((gain + final_gain * ending) / 20)
    vowels = rng.uniform(0.5, 1, (n_syllables, N_HARMONICS)).astype(np.float32)
    voice = 0.04 * envelope * _harmonics(pitch, 1.1 + decay, vowels[syllable].T)
    return np.clip(voice + _surroundings(time, rng), -1, 1).astype(np.float32)


def loudness(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """How loud each of `n_frames` equal stretches of samples [N] is, [T] in 0 to 1: the mouth follows it."""
    level = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(samples, n_frames)], dtype=np.float32)
    return level / level.max()


def draw_face(
    speaker: Speaker, emotion: str, intent: str, *, speech: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Frames [T, SIZE, SIZE, 3] uint8 of a person who speaks as loudly as speech [T] says, in 0 to 1."""
    progress = np.linspace(0, 1, len(speech), dtype=np.float32)[:, None, None]  # [T, 1, 1], like all that moves
    onset = np.clip(progress / rng.uniform(0.1, 0.4), 0, 1)  # the expression grows from rest
    felt = rng.uniform(0.75, 1.25) * np.array(EXPRESSIONS[emotion])
    habit = speaker.face_habit + rng.normal(0, 0.10, 6)
    expression = [float(h) + float(f) * onset for h, f in zip(habit, felt, strict=True)]

    image = _background(len(speech), progress, rng)
    u, v = _face_coordinates(speaker, intent, progress, rng)
    _paint_head(image, u, v, speaker)
    _paint_features(image, u, v, expression, speech[:, None, None], rng)
    image = image * rng.uniform(0.9, 1.1) + 0.02 * rng.standard_normal(image.shape[1:], dtype=np.float32)
    return np.moveaxis((255 * np.clip(image, 0, 1)).astype(np.uint8), 0, -1)


def _harmonics(pitch: np.ndarray, decay: float, vowel: np.ndarray) -> np.ndarray:
    """Sum of the harmonics of a changing pitch [N] in Hz, each weighted by vowel [N_HARMONICS, N]."""
    phase = (2 * np.pi * (np.cumsum(pitch) / RATE % 1)).astype(np.float32)
    number = np.arange(1, N_HARMONICS + 1, dtype=np.float32)[:, None]
    audible = number * pitch < RATE / 2  # what lies above would fold back
    return (audible * vowel * number ** -float(decay) * np.sin(number * phase)).sum(0)


def _surroundings(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, and in three clips of ten a tone that has nothing to do with the speaker, [N]."""
    noise = rng.normal(0, 10 ** rng.uniform(-3.0, -2.3), len(time))
    if rng.random() > 0.3:
        return noise
    tone = np.sin(2 * np.pi * rng.uniform(150, 2500) * time) * (np.sin(2 * np.pi * rng.uniform(0.5, 3) * time) > 0)
    return noise + rng.uniform(0.01, 0.05) * tone


def _background(n_frames: int, progress: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A two-coloured wall with a few blobs drifting across it, [3, T, SIZE, SIZE] in 0 to 1."""
    x, y = _pixels()
    top, bottom = (rng.uniform(0.3, 0.6) + rng.uniform(-0.1, 0.1, (2, 3, 1, 1, 1))).astype(np.float32)
    image = np.repeat(top + (bottom - top) * (y + 1) / 2, n_frames, axis=1)
    for _ in range(rng.integers(1, 5)):
        left, upper, drift = rng.uniform(-1, 1, 3).tolist()
        blob = _ellipse(x - left - 0.3 * drift * progress, y - upper, *rng.uniform(0.1, 0.4, 2).tolist())
        _paint(image, blob, rng.uniform(0.1, 0.8) + rng.uniform(-0.1, 0.1, 3))
    return image


def _face_coordinates(
    speaker: Speaker, intent: str, progress: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel lies on the face, u and v [T, SIZE, SIZE]: the face's edge is at -1 and 1 both ways."""
    nod, tilt, approach = GESTURES[intent]
    beat = np.sin(2 * np.pi * (2.5 * progress + rng.random()))
    angle = tilt * np.sin(np.float32(np.pi) * progress) + rng.normal(0, 0.03)
    height = rng.uniform(0.68, 0.73) * (1 + approach * progress)
    x, y = _pixels()
    x = x - rng.normal(0, 0.025) - 0.03 * np.sin(2 * np.pi * (progress + rng.random()))
    y = y - rng.normal(0.05, 0.02) - 2 * nod / SIZE * beat
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return u / (height * speaker.width), v / height


def _paint_head(image: np.ndarray, u: np.ndarray, v: np.ndarray, speaker: Speaker) -> None:
    _paint(image, _ellipse(u, v - 2.0, 1.9, 1.1), 0.6 * speaker.hair + 0.3)  # shoulders
    _paint(image, _ellipse(u, v + 0.12, 1.12, 1.08), speaker.hair)
    _paint(image, _ellipse(u, v, 1, 1) * np.clip((v + 0.72) * 20, 0, 1), speaker.skin)
    _paint(image, _ellipse(u, v - 0.2, 0.12, 0.16), 0.85 * speaker.skin)  # nose


def _paint_features(
    image: np.ndarray, u: np.ndarray, v: np.ndarray, expression: list, speech: np.ndarray, rng: np.random.Generator
) -> None:
    """Eyes, brows and mouth; each part of the expression is [T, 1, 1], in the order of EXPRESSIONS."""
    smile, opening, eyes, slant, raised, skew = expression
    blink = rng.random(speech.shape) > 0.06
    for side in (-1, 1):
        inward = -side * (u - side * 0.42)  # grows towards the nose
        eye = _ellipse(inward, v + 0.2, 0.24, np.clip(0.14 * (1 + 0.9 * eyes), 0.03, 0.3) * blink + 0.02)
        _paint(image, eye, np.ones(3))
        _paint(image, eye * _ellipse(inward, v + 0.2, 0.11, 0.13), np.full(3, 0.08))
        arch = -0.47 - 0.16 * raised - 0.45 * slant * inward
        _paint(image, _bar(inward, v - arch, 0.28, 0.05), np.full(3, 0.1))
    curve = 0.55 + 0.25 * smile * (0.5 - (u / 0.45) ** 2) + 0.25 * skew * u
    gap = np.clip(0.03 + 0.17 * opening + 0.07 * speech, 0.02, 0.3) * np.sqrt(np.clip(1 - (u / 0.45) ** 2, 0.05, 1))
    _paint(image, _bar(u, v - curve, 0.45, gap + 0.05), np.array([0.70, 0.25, 0.25]))
    _paint(image, _bar(u, v - curve, 0.40, gap), np.array([0.25, 0.05, 0.08]))


def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y [SIZE, SIZE] of the pixels, -1 to 1 from left to right and from top to bottom."""
    line = np.linspace(-1, 1, SIZE, dtype=np.float32)
    return np.meshgrid(line, line)


def _ellipse(x: np.ndarray, y: np.ndarray, width: float, height: float | np.ndarray) -> np.ndarray:
    """Mask in 0 to 1 of an ellipse around the origin, its edge about a pixel soft."""
    return np.clip(12 * (1 - np.sqrt((x / width) ** 2 + (y / height) ** 2)), 0, 1)  # np.hypot takes five times as long


def _bar(x: np.ndarray, y: np.ndarray, half_length: float, half_height: float | np.ndarray) -> np.ndarray:
    """Mask in 0 to 1 of a horizontal bar around the origin, its edges about a pixel soft."""
    return np.clip(20 * (half_length - np.abs(x)), 0, 1) * np.clip(20 * (half_height - np.abs(y)), 0, 1)


def _paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour [3] over image [3, T, SIZE, SIZE] where mask [T, SIZE, SIZE] says so, in place."""
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if len(rows) == 0:
        return
    window = np.s_[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most masks are small
    image[window] += mask[window] * (colour.astype(np.float32)[:, None, None, None] - image[window])
