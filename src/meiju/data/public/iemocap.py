"""IEMOCAP with EMOTyDA's dialogue acts: five sessions of two actors each, six emotions, 12 acts.

Follows the full release, Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav and so on, and
Dataset/iemocap_session1.csv ... 5 of EMOTyDA, commit 480c853, which hold sentence, act and emotion. Where a folder has
no sentences/wav, the films dialog/avi/DivX/Ses01F_impro01.avi are taken, and each utterance is a span of one, by the
times of dialog/EmoEvaluation/*.txt; a film shows both actors, side by side. Of the emotions, the six that are usual
are kept. Session 5 is Testing, as is usual, and session 4 Validation, so no actor is in two parts.
Their form was read in EMOTyDA's tables and in loaders of others: never run on the owners' files.
"""

import re
from pathlib import Path

import pandas as pd

from meiju.config import require
from meiju.data.public.preparing import Prepared
from meiju.data.public.sources import ACTS, files_below, media_below, read_table, require_files

WHAT = "ten actors in dialogues, English, six emotions, 12 dialogue acts (EMOTyDA)"
LICENCE = "IEMOCAP on request, for research, not to be passed on; EMOTyDA names none"
SOURCE = "https://sail.usc.edu/iemocap/ and https://github.com/sahatulika15/EMOTyDA"
NEEDS = "Session1 ... Session5 with sentences/wav (or dialog/avi and dialog/EmoEvaluation), and EMOTyDA's Dataset"
EMOTIONS = {"hap": "happy", "exc": "excited", "sad": "sad", "neu": "neutral", "ang": "angry", "fru": "frustrated"}
PARTS = {"Ses04": "validation", "Ses05": "testing"}
GET = "it is EMOTyDA's: git clone https://github.com/sahatulika15/EMOTyDA into the same folder"
WANTED = {f"iemocap_session{k}.csv": GET for k in range(1, 6)}
TIMES = re.compile(r"^\[(\d+\.\d+) - (\d+\.\d+)\]\t(Ses0\w+)\t", re.MULTILINE)


def read(source: Path, published: bool) -> Prepared:
    """The turns of all sessions, with their sounds, or with their films where there are no sounds."""
    paths = files_below(source)
    tables = require_files(paths, source, WANTED)
    turns = pd.concat([read_table(path, ("TURN", "UTTERANCE", "DA", "EMOTION")) for path in tables.values()])
    emotion, session, place = turns.EMOTION.str.casefold(), turns.TURN.str[:5], turns.TURN.str.rpartition("_")
    media = media_below(paths)
    clips = turns.rename(columns={"TURN": "name", "UTTERANCE": "sentence"}).assign(
        part=session.map(PARTS).fillna("training"),
        emotion=emotion.map(EMOTIONS).fillna(""),
        intent=turns.DA.str.casefold().map(ACTS).fillna(""),
        dialogue=place[0],
        # Ses01F_impro01_M000: the last letter says who speaks, the first whose markers were recorded.
        speaker=session + place[2].str[0],
        why=[("" if e in EMOTIONS else f"emotion {e or 'missing'}, not one of the six") for e in emotion],
        media=[media.get(name) for name in turns.TURN],
    )
    notes = ["In the intent's place stand EMOTyDA's dialogue acts.", "Sessions 1 to 3 are training, 4 validation."]
    if clips.media.isna().all():
        _cut_films(clips, media, paths, source)
        notes.append("Each clip is a span of a film with both actors side by side.")
    return Prepared(clips, notes)


def _cut_films(clips: pd.DataFrame, films: dict[str, Path], paths: list[Path], source: Path) -> None:
    """Give each turn its dialogue's film, and where in it the turn begins and ends, in seconds."""
    evaluations = [path for path in paths if path.parent.name == "EmoEvaluation" and path.suffix == ".txt"]
    times = {m[3]: (m[1], m[2]) for path in evaluations for m in TIMES.finditer(path.read_text(encoding="latin-1"))}
    require(bool(times), f"{source} has neither sentences/wav nor EmoEvaluation; needed: {NEEDS}")
    clips["media"] = [films.get(d) if n in times else None for n, d in zip(clips.name, clips.dialogue, strict=True)]
    clips[["start", "end"]] = [times.get(name, ("", "")) for name in clips.name]
    require(clips.media.notna().any(), f"{source} has no sound and no film; needed: {NEEDS}")
