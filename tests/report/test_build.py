import numpy as np
import pytest

from meiju import pipeline
from meiju.cli import parse_config
from meiju.pseudo import teachers
from meiju.report import build, page
from meiju.report.page import Table
from meiju.run import Run
from toy_run import TINY

HEADINGS = ["Scores", "What stage 2 gains", "Classes", "Folds", "Clips judged wrongly", "Pseudo-labels", "Confidence"]
HEADINGS += ["Run time", "Settings"]


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


def sections_of(run, pseudo):
    stages = pipeline.read_stages(run)
    errors = build.wrong_clips(run, stages[run.config.submit])
    return {section.heading: section for section in build.build(run, stages, errors, *pseudo)}


@pytest.fixture(scope="module")
def sections(run, pseudo):
    return sections_of(run, pseudo)


def table(section, heading):
    return next(item for item in section.items if isinstance(item, Table) and item.heading == heading)


def test_the_submission_is_marked_and_a_yardstick_beside_it(sections):
    assert list(sections) == HEADINGS
    scores = table(sections["Scores"], "All systems")
    marked = scores.frame.loc[sorted(scores.strong)]
    assert marked[["stage", "part"]].to_numpy().tolist() == [["stage 2", "out-of-fold"], ["stage 2", "validation"]]
    assert set(scores.frame.stage) == {"stage 1", "stage 2", "majority"}
    assert "over clips (out-of-fold)" in scores.caption
    assert ["train.together", "None"] in table(sections["Settings"], "All settings").frame.to_numpy().tolist()


def test_a_first_stage_that_is_handed_in_is_what_the_report_is_about(home, root, pseudo):
    flags = ["sample", "--home", str(home), "--corpus.root", str(root), *TINY, "--submit", "stage1"]
    by_heading = sections_of(Run(parse_config("", flags)), pseudo)
    scores = table(by_heading["Scores"], "All systems")
    assert set(scores.frame.loc[sorted(scores.strong)].stage) == {"stage 1"}
    assert table(by_heading["Classes"], "F1 of each intent").caption.startswith("Stage 1")


def test_a_gain_of_one_seed_is_over_clips_alone_and_not_bold(sections):
    gain = table(sections["What stage 2 gains"], "Gain")
    assert set(gain.frame.interval) == {"over clips alone"}
    assert gain.strong == frozenset()
    assert any("With one seed" in paragraph for paragraph in sections["What stage 2 gains"].text)


def test_errors_are_all_there_with_their_sentences_the_surest_first(sections, run):
    errors = build.wrong_clips(run, pipeline.read_stages(run)["stage2"])
    classes = table(sections["Classes"], "F1 of each emotion").frame.query("part == 'out-of-fold'")
    training = run.corpus.part("training").emotion.value_counts()
    assert classes.set_index("emotion").support.to_dict() == training.reindex(classes.emotion, fill_value=0).to_dict()
    own = errors[(errors.task == "emotion") & (errors.part == "out-of-fold")]
    assert len(own) == len(run.folds) - round((classes.recall * classes.support).sum())
    assert (errors.true != errors.predicted).all()
    assert errors.confidence.is_monotonic_decreasing
    sentences = run.corpus.clips.set_index("name").sentence
    assert errors.sentence.tolist() == sentences[errors.name].tolist()
    shown = table(sections["Clips judged wrongly"], "Wrong emotions").frame
    assert shown.name.tolist() == own.name.head(build.SHOWN_ERRORS).tolist()


def test_folds_have_the_scores_of_their_own_clips_and_steps_their_time(sections, run):
    folds = table(sections["Folds"], "Scores by fold").frame
    assert folds.clips.tolist() == run.folds.fold.value_counts().sort_index().tolist()
    assert folds.JRBM.between(0, 1).all()
    assert {"features", "stage1", "stage2"} <= set(table(sections["Run time"], "Time by step").frame.step)
    assert [item.heading for item in sections["Confidence"].items] == ["Confidence of emotion", "Confidence of intent"]


def test_a_second_stage_that_is_worse_is_named_first(run, pseudo, monkeypatch):
    monkeypatch.setattr("meiju.evaluation.scores.warn_of_loss", lambda gains: "Worse: --submit stage1.")
    assert sections_of(run, pseudo)["What stage 2 gains"].text[0] == "Worse: --submit stage1."


def test_nothing_accepted_and_no_pool_are_reported(run, pseudo):
    labelled, gates = pseudo
    none = labelled.assign(emotion_accepted=False, intent_accepted=False)
    by_heading = sections_of(run, (none, gates.assign(threshold=1.0, precision=np.nan)))
    assert "nearly stage 1 again" in by_heading["What stage 2 gains"].text[0]
    assert "Emotion: 0 of 16 unlabelled clips" in by_heading["Pseudo-labels"].text[0]
    assert ">nan" not in page.render(title="", intro=[], sections=list(by_heading.values()), made_with={})
    assert "no unlabelled clips" in sections_of(run, (labelled[:0], gates))["Pseudo-labels"].text[0]
