import numpy as np
import pytest

from meiju import pipeline
from meiju.cli import parse_config
from meiju.config import as_settings
from meiju.pseudo import teachers
from meiju.report import build
from meiju.report.page import Picture, Table
from meiju.run import Run
from meiju.utils import log
from toy_run import TINY

HEADINGS = ["Scores", "What stage 2 gains", "Classes", "Folds", "Clips judged wrongly", "Pseudo-labels"]
HEADINGS += ["Attention heads", "Calibration", "Run time", "Settings"]


@pytest.fixture(scope="module", autouse=True)
def unpainted():
    """Figures are made and not painted, which takes seconds; those of the run that tests share are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meiju.report.figures.to_data_uri", lambda figure: "data:image/png;base64,")
        yield


@pytest.fixture(scope="module")
def run(home, root):
    return Run(parse_config("", ["sample", "--home", str(home), "--corpus.root", str(root), *TINY]))


@pytest.fixture(scope="module")
def pseudo(run):
    return teachers.read(run.result("pseudo"))


@pytest.fixture(scope="module")
def sections(run, pseudo):
    return {section.heading: section for section in build.build(run, *pseudo, ablation="ablation-1/ablation.md")}


def table(section, heading):
    return next(item for item in section.items if isinstance(item, Table) and item.heading == heading)


def test_what_a_reader_looks_for_comes_first(sections):
    assert list(sections) == HEADINGS
    assert all(len(item.heading) <= 30 for section in sections.values() for item in section.items)
    assert sections["Scores"].link[1] == "ablation-1/ablation.md"


def test_the_submission_is_marked_and_a_yardstick_beside_it(sections):
    scores = table(sections["Scores"], "All systems")
    marked = scores.frame.loc[list(scores.tags)]
    assert marked[["stage", "part"]].to_numpy().tolist() == [["stage 2", "out-of-fold"], ["stage 2", "validation"]]
    assert set(scores.frame.stage) == {"stage 1", "stage 2", "majority"}
    assert "over clips (out-of-fold)" in scores.caption


def test_a_first_stage_that_is_handed_in_is_what_the_report_is_about(home, root, pseudo):
    flags = ["sample", "--home", str(home), "--corpus.root", str(root), *TINY, "--submit", "stage1"]
    by_heading = {section.heading: section for section in build.build(Run(parse_config("", flags)), *pseudo)}
    scores = table(by_heading["Scores"], "All systems")
    assert set(scores.frame.loc[list(scores.tags)].stage) == {"stage 1"}
    assert "what stage 1 says of the test clips" in scores.caption
    assert table(by_heading["Classes"], "F1 of each intent").caption.startswith("Stage 1")


def test_a_gain_of_one_seed_is_over_clips_alone_and_not_bold(sections):
    gain = table(sections["What stage 2 gains"], "Gain")
    assert set(gain.frame.interval) == {"over clips alone"}
    assert gain.strong == frozenset()
    assert any("With one seed" in paragraph for paragraph in sections["What stage 2 gains"].text)
    assert set(gain.frame.score) == {"JRBM", "log_loss_emotion", "log_loss_intent", "log_loss"}


def test_scores_of_classes_and_folds_are_those_of_the_clips(sections, run):
    training = run.corpus.part("training")
    classes = table(sections["Classes"], "F1 of each intent").frame.set_index("intent")
    assert classes.clips.to_dict() == training.intent.value_counts().reindex(classes.index, fill_value=0).to_dict()
    folds = table(sections["Folds"], "Scores by fold").frame
    assert folds.fold.tolist() == ["0", "1", "2", "mean", "sd"]
    scores = table(sections["Scores"], "All systems").frame
    sd = scores[(scores.stage == "stage 2") & (scores.part == "out-of-fold")]["fold sd"].item()
    assert folds["JRBM, stage 2"].iloc[-1] == pytest.approx(sd)


def test_errors_are_all_there_with_their_sentences_the_surest_first(sections, run):
    section = sections["Clips judged wrongly"]
    errors = table(section, "Wrong emotions").full
    classes = table(sections["Classes"], "F1 of each emotion").frame
    right = (classes.recall * classes.clips).sum()
    own = errors[(errors.task == "emotion") & (errors.part == "out-of-fold")]
    assert len(own) == len(run.folds) - round(right)
    assert (errors.true != errors.predicted).all()
    assert errors.confidence.is_monotonic_decreasing
    sentences = run.corpus.clips.set_index("name").sentence
    assert errors.sentence.tolist() == sentences[errors.name].tolist()
    shown = table(section, "Wrong emotions").frame
    assert shown.name.tolist() == own.name.head(build.SHOWN_ERRORS).tolist()


def test_a_second_stage_that_is_worse_is_named_first(run, pseudo, monkeypatch):
    monkeypatch.setattr("meiju.evaluation.scores.warn_of_loss", lambda gains: "Worse: --submit stage1.")
    by_heading = {section.heading: section for section in build.build(run, *pseudo)}
    assert by_heading["What stage 2 gains"].text[0] == "Worse: --submit stage1."


def test_nothing_accepted_is_reported_and_not_drawn(run, pseudo):
    labelled, gates = pseudo
    none = labelled.assign(emotion_accepted=False, intent_accepted=False)
    shut = gates.assign(threshold=1.0, precision=np.nan)
    built = build.build(run, none, shut, notice=pipeline.few_pseudo_labels(run, none))
    by_heading = {section.heading: section for section in built}
    assert "nearly stage 1 again" in by_heading["What stage 2 gains"].text[0]
    assert "no ablation yet" in " ".join(by_heading["Scores"].text)
    section = by_heading["Pseudo-labels"]
    assert "Emotion: 0 of 16 unlabelled clips" in section.text[0]
    assert not any(isinstance(item, Picture) for item in section.items)
    page = build.render(run, built)
    assert ">nan" not in page


def test_a_corpus_without_a_pool_has_a_sentence_for_it(run, pseudo):
    labelled, gates = pseudo
    section = build.diagnostics.pseudo_labels(run, labelled[:0], gates)
    assert section.items == ()
    assert "no unlabelled clips" in section.text[0]


def test_run_time_is_of_this_runs_logs_or_unknown(run, sections, tmp_path, monkeypatch):
    steps = table(sections["Run time"], "Time by step").frame
    assert {"features", "stage1", "pseudo", "stage2", "submission"} <= set(steps.step)
    none = log.read_costs(tmp_path, as_settings(run.config))
    monkeypatch.setattr(build.log, "read_costs", lambda *_: none)
    assert "Unknown" in build._run_time(run).text[0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "under 1 s"), (41.7, "42 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations(seconds, expected):
    assert build.duration(seconds) == expected
