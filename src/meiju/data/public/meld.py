"""MELD with EMOTyDA's dialogue acts: utterances of the series Friends, 7 emotions, 12 acts.

Follows MELD.Raw.tar.gz, with train.tar.gz, dev.tar.gz and test.tar.gz in it extracted: train_splits/dia0_utt0.mp4,
dev_splits_complete/, output_repeated_splits_test/, and {train,dev,test}_sent_emo.csv; and Dataset/MELD.csv of EMOTyDA,
commit 480c853. Names are unique in their split alone, so the split becomes part of them. EMOTyDA has acts of MELD's
training part alone: by default, all parts are whole dialogues of it. Without any clip, the sentences are the corpus.
Its form was read in the owners' tables. Run on tables made of 2,294 of its sentences, and not on the whole.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import require
from meiju.data.public.preparing import Prepared, draw_groups
from meiju.data.public.sources import ACTS, files_below, read_table, require_files
from meiju.utils.clip_files import MEDIA_SUFFIXES

WHAT = "clips of the series Friends, English, 7 emotions, 12 dialogue acts (EMOTyDA)"
LICENCE = "MELD GPL-3.0, its clips for research (they are a broadcaster's); EMOTyDA names none"
SOURCE = "https://github.com/declare-lab/MELD and https://github.com/sahatulika15/EMOTyDA"
NEEDS = "MELD's three *_sent_emo.csv, EMOTyDA's MELD.csv and, unless sentences are enough, the extracted clips"
SHARES = {"validation": 0.1, "testing": 0.15}  # of the clips with acts
GET = "get it from https://github.com/declare-lab/MELD (data/MELD)"
WANTED = {f"{split}_sent_emo.csv": GET for split in ("train", "dev", "test")} | {
    "MELD.csv": "it is EMOTyDA's: git clone https://github.com/sahatulika15/EMOTyDA into the same folder"
}


def read(source: Path, published: bool) -> Prepared:
    """Clips with both labels, of MELD's training part.

    With published, MELD's own test part is Testing, with emotions alone, and its training part the rest.
    """
    paths = files_below(source)
    tables = require_files(paths, source, WANTED)
    clips = pd.concat([_read_split(split, tables[f"{split}_sent_emo.csv"]) for split in ("train", "dev", "test")])
    clips = clips.reset_index(drop=True)
    acts = read_table(tables["MELD.csv"], ("Dialogue_ID", "Utterance_ID", "Dialogue Act"))
    code = acts["Dialogue Act"].str.casefold()
    of_train = "train_dia" + acts.Dialogue_ID + "_utt" + acts.Utterance_ID
    clips["intent"] = clips.name.map(dict(zip(of_train, code.map(ACTS), strict=True))).fillna("")
    of_test = clips.name.str.startswith("test_") & published
    clips["why"] = np.where((clips.intent == "") & ~of_test, "no dialogue act in EMOTyDA", "")
    media = _find_clips(paths)
    clips["media"] = [media.get(name) for name in clips.name]
    usable = (clips.why == "") & ~of_test
    shares = {"validation": SHARES["validation"]} if published else SHARES
    # The same for everybody, whatever the seed of the labelled clips: scores are then of the same test clips.
    clips["part"] = draw_groups(clips[usable], "dialogue", shares, seed=0).reindex(clips.index, fill_value="testing")
    notes = ["In the intent's place stand EMOTyDA's dialogue acts. Validation is drawn, as whole dialogues."]
    notes += ["Testing is MELD's own, with emotions alone."] if published else ["So is Testing."]
    return Prepared(clips, notes)


def _read_split(split: str, path: Path) -> pd.DataFrame:
    table = read_table(path, ("Dialogue_ID", "Utterance_ID", "Speaker", "Utterance", "Emotion"))
    dialogue = f"{split}_dia" + table.Dialogue_ID
    names = {"Utterance": "sentence", "Speaker": "speaker", "Emotion": "emotion"}
    return table.rename(columns=names).assign(name=dialogue + "_utt" + table.Utterance_ID, dialogue=dialogue)


def _find_clips(paths: list[Path]) -> dict[str, Path]:
    """The clips of all splits by <split>_<name>; final_videos_test* beside them are no utterances of the tables."""
    media: dict[str, Path] = {}
    for path in paths:
        split = next((s for s in ("train", "dev", "test") if s in path.parent.name.casefold()), None)
        if split and path.suffix.lower() in MEDIA_SUFFIXES and re.fullmatch(r"dia\d+_utt\d+", path.stem):
            media.setdefault(f"{split}_{path.stem}", path)
    packed = [str(path) for path in paths if re.fullmatch(r"(MELD\.Raw|train|dev|test)\.tar\.gz", path.name)]
    remedy = "extract it there (tar -xzf), and the archives in it"
    require(bool(media) or not packed, f"packed, and no clips lie beside it: {', '.join(packed)}; {remedy}")
    return media
