"""RAVDESS: 24 actors say two sentences in eight emotions and two intensities; 1,440 takes of speech.

Follows the names of version 1.0.0 (Zenodo 1188976): MM-CC-EE-II-SS-RR-AA, which are modality (01 sound and pictures,
02 pictures alone, 03 sound alone), channel (01 speech, 02 song), emotion, intensity, sentence, repetition, actor. The
zips Video_Speech_Actor_01.zip ... 24 and Audio_Speech_Actors_01-24.zip are read as they are, or the folders in them.
Of a take, its film is used, or else its sound; 02 is the same film without sound. Run on 1,080 of its voices under
names made for them, and not on the owners' archives.
"""

import re
import zipfile
from pathlib import Path

import pandas as pd

from meiju.config import ConfigError, require
from meiju.data.public.preparing import Media, Prepared
from meiju.data.public.sources import files_below
from meiju.utils.clip_files import MEDIA_SUFFIXES

WHAT = "voices and faces of 24 actors, English, 8 emotions, 2 intensities"
LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "https://zenodo.org/records/1188976"
NEEDS = "Video_Speech_Actor_*.zip or Audio_Speech_Actors_01-24.zip, as they are or extracted"
NAME = re.compile(r"0[13]-0[12]-(0[1-8])-(0[12])-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])")
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES = ("normal", "strong")
SENTENCES = ("Kids are talking by the door", "Dogs are sitting by the door")
VALIDATION, TESTING = (17, 18), (19, 20, 21, 22, 23, 24)
# Luna-Jimenez et al. 2022, Applied Sciences 12(1) 327: the actors of each of five folds.
FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
NOTES = [
    "In the intent's place stands the intensity, normal or strong; neutral is always normal.",
    "Each voice belongs to the face of its clip. The two sentences say nothing of emotion or intensity.",
]


def read(source: Path, published: bool) -> Prepared:
    """The takes of speech; with published, all are training clips, in the published five folds."""
    takes: dict[str, tuple[str, Media]] = {}
    for name, media in sorted(_recordings(source).items()):  # films, 01, come before sounds, 03
        takes.setdefault(name[3:], (name, media))
    rows = []
    for name, media in takes.values():
        emotion, intensity, sentence, actor = map(int, NAME.fullmatch(name).groups())
        part = "validation" if actor in VALIDATION else "testing" if actor in TESTING else "training"
        rows.append(
            {
                "name": name,
                "part": "training" if published else part,
                "sentence": SENTENCES[sentence - 1],
                "emotion": EMOTIONS[emotion - 1],
                "intent": INTENSITIES[intensity - 1],
                "speaker": f"actor{actor:02}",
                "media": media,
                "why": "" if name[3:5] == "01" else "a song",
            }
        )
    clips = pd.DataFrame(rows)
    notes = [*NOTES, f"{(clips.why == '').sum()} of the 1,440 takes of speech were found."]
    if not published:
        return Prepared(clips, [*notes, "Parts by actors: 1 to 16 training, 17 and 18 validation, 19 to 24 testing."])
    fold = {f"actor{actor:02}": k for k, actors in enumerate(FOLDS) for actor in actors}
    notes.append("All are training clips; folds.csv holds the published folds.")
    return Prepared(clips.assign(fold=clips.speaker.map(fold)), notes)


def _recordings(source: Path) -> dict[str, Media]:
    """All recordings with sound by name, as files or within zips."""
    found: list[Media] = []
    for path in files_below(source):
        if path.suffix.lower() != ".zip":
            found.append(path)
            continue
        try:
            root = zipfile.Path(path)
        except zipfile.BadZipFile as error:
            raise ConfigError(f"{path} cannot be read as zip: {error}; download it again") from None
        found += [root / name for name in root.root.namelist() if not name.endswith("/")]
    named = {Path(m.name).stem: m for m in reversed(found) if Path(m.name).suffix.lower() in MEDIA_SUFFIXES}
    named = {name: media for name, media in named.items() if NAME.fullmatch(name)}
    require(bool(named), f"no file below {source} is named like 01-01-03-02-01-01-12.mp4; needed: {NEEDS}")
    return named
