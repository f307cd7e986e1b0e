"""What each of the numbered steps does, for the scripts and for whoever runs the same steps with variants.

Each step skips what was done before with the same settings; the steps that it needs must have been done. Modules that
import torch or transformers are imported inside the functions that need them: that takes seconds, and a step that was
done before shall say so at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from meiju import stores
from meiju.config import ConfigError
from meiju.data import submission
from meiju.data.corpus import PARTS, UNSCORED_PARTS
from meiju.evaluation import ensemble, scores
from meiju.evaluation.scores import Stage
from meiju.features import frame_store, media
from meiju.pseudo import teachers
from meiju.run import Run
from meiju.steps import encoder_key
from meiju.text import refine
from meiju.training import members
from meiju.utils import files, spreadsheets
from meiju.utils.compute import map_in_workers, pick_device

if TYPE_CHECKING:
    from meiju.training.workers import StageData


def transcribe(run: Run) -> None:
    """Step 01."""
    clips = run.untranscribed
    if not run.transcribes:
        what = f"{len(clips)} clips without a sentence keep none (--speech.model none)"
        print(f"transcription: nothing to do; {what if len(clips) else 'every clip has a sentence'}")
    elif run.needs_run("transcription"):
        from meiju.text import transcription

        folder = run.transcription_folder
        with files.reserved(folder):
            table = transcription.transcribe(
                run.config.speech,
                clips,
                folder,
                meta={key: value for key, value in run.cache_key("transcription").items() if key != "media"},
                inputs={name: run.media[name] for name in clips.name},
                device=pick_device(run.config.device),
                earlier=stores.others(folder),
            )
        print(transcription.describe(table))
        run.finish("transcription", [folder / "transcription.csv"])


def refine_transcripts(run: Run) -> None:
    """Step 02."""
    if run.needs_run("transcripts"):
        folder = run.folder("transcripts")
        refine.refine(run.config, run.corpus.clips, folder, transcribed=run.transcribed())
        run.finish("transcripts", files.files_in(folder))


def extract_features(run: Run) -> None:
    """Step 03."""
    if not run.needs_run("features"):
        return
    clips = refine.as_clips(run.corpus.clips, run.result("transcripts"))
    to_fit = set(run.corpus.clips.name[run.corpus.clips.part.isin(UNSCORED_PARTS)])
    products: list[Path] = []
    short: list[str] = []
    parts = {part: list(run.corpus.part(part).name) for part in PARTS}
    for stream, encoder in run.encoders.items():
        folder = run.stream_folder(stream)
        store = frame_store.extract(
            encoder,
            clips,
            [clip for clip in clips if clip.name in to_fit],
            folder,
            meta=encoder_key(run, stream),
            inputs=run.clip_inputs(encoder, clips),
            earlier=stores.others(folder),
            seed=run.config.seed,
            n_jobs=run.config.n_jobs,
            label=f"features of {stream}",
            compute=run.config.compute,
        )
        print(frame_store.describe(stream, store, folder))
        products += files.files_in(folder)
        short += filter(None, [frame_store.shortage(stream, store, parts)])
    if short:
        remedy = "mend what its frames are made from, or leave the stream out of --streams"
        raise ConfigError("\n".join(["too little is left of a stream to go on:", *short, remedy]))
    run.finish("features", products)


def train_stage1(run: Run) -> None:
    """Step 05: the members that count, and the calibration models."""
    if run.needs_run("stage1"):
        from meiju.training import workers

        plan, folder = members.plan(run.config, calibration=True), run.folder("stage1")
        workers.train(run.config, stage_data(run), plan, folder)
        run.finish("stage1", members.paths(plan, folder))


def label_pool(run: Run) -> None:
    """Step 06."""
    if run.needs_run("pseudo"):
        table, gates = teachers.label_pool(run.config, run.corpus, run.folds, run.result("stage1"))
        run.finish("pseudo", teachers.write(run.folder("pseudo"), table, gates))


def train_stage2(run: Run) -> None:
    """Step 07."""
    pseudo, _ = teachers.read(run.result("pseudo"))
    if run.needs_run("stage2"):
        from meiju.training import workers
        from meiju.training.regression import REGRESSION_ROWS

        plan, folder = members.plan(run.config, calibration=False), run.folder("stage2")
        accepted = teachers.accepted(pseudo)
        most = accepted.fold.value_counts().max() if len(accepted) else 0
        if run.config.model.linear and most > REGRESSION_ROWS:
            share = f"{REGRESSION_ROWS} of up to {most} pseudo-labelled clips"
            print(f"logistic-regression heads learn from {share}, drawn at random")
        workers.train(run.config, stage_data(run, accepted), plan, folder)
        run.finish("stage2", members.paths(plan, folder))


def make_submission(run: Run) -> None:
    """Step 08: the mean of all members of a stage on the test clips, and what predict.py needs to know of the run."""
    if not run.needs_run("submission"):
        return
    from meiju.sample import corpus as sample_corpus
    from meiju.serving import bundle

    config, corpus, out = run.config, run.corpus, run.folder("submission")
    names = list(corpus.part("testing").name)
    # There are as many members of each head count, so this is the multi-head voting of arXiv 2501.06215.
    chosen = members.plan(config, calibration=False)
    probabilities = ensemble.mean_over(run.result(config.submit), chosen, names)
    submission.write(ensemble.as_labels(probabilities, names, corpus.labels), out)
    table = scores.table(read_stages(run).values())
    files.write_text(out / submission.SCORES_NAME, spreadsheets.as_csv(table, float_format="%.4f"))
    reads_media = any(encoder.source == "media" for encoder in run.encoders.values())
    paths = list(corpus.part("training").path) if reads_media else []
    longest = max(map_in_workers(media.length, paths, n_jobs=config.n_jobs), default=0.0)
    by_clip = ensemble.as_table(probabilities, names, corpus.labels)
    files.write_text(out / "probabilities.csv", spreadsheets.as_csv(by_clip, index=True, float_format="%.4f"))
    folders = {bundle.TRANSCRIPTS: run.result("transcripts"), bundle.MEMBERS: run.result(config.submit)}
    folders |= {bundle.encoder_part(stream): store / "encoder" for stream, store in run.stores.items()}
    made_up = sample_corpus.is_sample(config.corpus.root)
    bundle.write_model(out, config, corpus.labels, folders, longest=longest, made_up=made_up)
    names = (submission.CSV_NAME, submission.ZIP_NAME, submission.SCORES_NAME, "probabilities.csv", bundle.MODEL)
    run.finish("submission", [out / name for name in names])


def stage_data(run: Run, pseudo: pd.DataFrame | None = None) -> "StageData":
    """What the members of a stage share, stage 2 if there are pseudo-labels. Raises NotYet without features."""
    from meiju.training.workers import StageData

    return StageData(
        run.corpus.clips,
        run.corpus.labels,
        run.folds,
        run.stores,
        pseudo=pseudo,
        start=run.result("stage1") if pseudo is not None and run.config.stage2.warm_start else None,
    )


def read_stages(run: Run, *steps: str) -> dict[str, Stage]:
    """By step, the predictions of the members of both stages, or of some. Raises NotYet if they are not trained."""
    names, given = {"stage1": "stage 1", "stage2": "stage 2"}, (run.config, run.corpus, run.folds)
    return {step: scores.read_stage(names[step], *given, run.result(step)) for step in steps or names}
