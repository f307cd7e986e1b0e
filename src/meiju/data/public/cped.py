"""CPED: utterances of 40 Chinese TV series, 13 emotions, 19 dialogue acts, in the owners' three parts.

Follows data/CPED/{train,valid,test}_split.csv of scutcyr/CPED, commit fc7eeae. Clips, which the owners give on request,
are taken where they are named by Utterance_ID (32_000_000.mp4), in any folder; without any, the sentences are the
corpus. No series is in two parts. Its form was read in the owners' tables. Run on rows made of 1,000 of its sentences,
and not on the whole.
"""

from pathlib import Path

import pandas as pd

from meiju.data.public.preparing import Prepared
from meiju.data.public.sources import files_below, media_below, read_table, require_files

WHAT = "dialogues of 40 Chinese TV series, 13 emotions, 19 dialogue acts"
LICENCE = "for research (see its repository); clips on request"
SOURCE = "https://github.com/scutcyr/CPED"
NEEDS = "train_split.csv, valid_split.csv, test_split.csv and, unless sentences are enough, clips by Utterance_ID"
GET = "get it from https://github.com/scutcyr/CPED (data/CPED)"
PARTS = {"train_split.csv": "training", "valid_split.csv": "validation", "test_split.csv": "testing"}
COLUMNS = {"Utterance_ID": "name", "Utterance": "sentence", "Emotion": "emotion", "DA": "intent"}
COLUMNS |= {"Dialogue_ID": "dialogue", "Speaker": "speaker", "TV_ID": "series"}
OTHERS = "其他"  # whoever has no name; different people from dialogue to dialogue


def read(source: Path, published: bool) -> Prepared:
    """All utterances; a speaker's name is one in its series alone."""
    paths = files_below(source)
    tables = require_files(paths, source, dict.fromkeys(PARTS, GET))
    table = pd.concat([read_table(tables[file], COLUMNS).assign(part=part) for file, part in PARTS.items()])
    media = media_below(paths)
    is_named = ~table.Speaker.isin(["", OTHERS])
    clips = table.rename(columns=COLUMNS).assign(
        speaker=table.TV_ID.where(is_named, table.Dialogue_ID) + "_" + table.Speaker,
        media=[media.get(name) for name in table.Utterance_ID],
    )
    notes = ["In the intent's place stand the dialogue acts. Parts are the owners'."]
    return Prepared(clips, notes)
