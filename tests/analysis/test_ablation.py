from dataclasses import replace

import pandas as pd
import pytest

from meiju.analysis import ablation
from meiju.analysis.ablation import FULL, all_variants, choose
from meiju.config import Config, ConfigError, ModelConfig, TrainConfig

CONFIG = Config("run", streams=("text=tfidf-svd", "audio=smart-turn", "visual=face-geometry"))


def names(*asked, config=CONFIG):
    return [variant.name for variant in choose(config, asked)]


def test_every_variant_is_the_run_with_one_thing_changed_and_has_a_name_of_its_own():
    variants = all_variants(CONFIG)
    assert variants[FULL].config == CONFIG
    assert {v.config.run for v in variants.values()} == {"run"}
    expected = {"gate-paper": ["pseudo"], "only-text": ["streams"], "punctuation-given": ["punctuation"]}
    expected["late"] = ["model", "train"]  # fewer head counts are made up for by seeds
    for name, wanted in expected.items():
        assert [f for f in vars(CONFIG) if getattr(variants[name].config, f) != getattr(CONFIG, f)] == wanted


def test_variants_are_chosen_by_name_and_group_and_the_full_run_leads():
    assert names("gate-paper", "heads-2") == [FULL, "gate-paper", "heads-2"]
    assert names("punctuation") == [FULL, "punctuation-stripped", "punctuation-given"]  # restored as it is
    assert names("streams")[1:] == ["only-text", "only-audio", "only-visual"] + [
        f"without-{stream}" for stream in ("text", "audio", "visual")
    ]
    assert names("all") == list(all_variants(CONFIG))
    two = replace(CONFIG, streams=CONFIG.streams[:2])
    assert names("streams", config=two) == [FULL, "only-text", "only-audio"]
    assert "only-text" not in all_variants(replace(CONFIG, streams=CONFIG.streams[:1]))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'gate-papr' differs .*; known groups: all, pseudo.*heads-2"):
        choose(CONFIG, ["gate-papr"])


@pytest.mark.parametrize("name", ["concat", "late", "attention", "heads-1", "heads-4"])
def test_fusions_are_compared_at_one_ensemble_size(name):
    config = replace(CONFIG, model=ModelConfig(heads=(1, 2, 4)), train=TrainConfig(seeds=2))
    variant = all_variants(config)[name].config
    assert len(variant.model.heads) * variant.train.seeds == 6


def test_head_counts_that_do_not_divide_the_width_are_left_out():
    config = replace(CONFIG, model=ModelConfig(heads=(3,), width=6))
    heads = [name for name in all_variants(config) if name.startswith("heads-")]
    assert heads == ["heads-1", "heads-2"]  # and heads-3 is the run


OVER_CLIPS, OVER_SEEDS = "over clips alone", "over 14 speakers and seeds"


def row(variant, part, shift):
    score = dict.fromkeys(("E", "I", "JRBM"), 0.5 + shift)
    ends = (("", 0), ("_low", -0.01), ("_high", 0.01))
    differences = {f"d_{name}{end}": shift + by for name in (*score, "log_loss") for end, by in ends}
    fixed = {"what": "a|b", "n_clips": 100, "log_loss": 2.5, "interval": OVER_SEEDS}
    return {"variant": variant, "part": part} | score | differences | fixed


def test_the_markdown_marks_what_is_beyond_noise_and_nothing_over_clips_alone():
    shifts = {"full": 0.0, "supervised": -0.03, "soft": 0.005}
    found = pd.DataFrame([row(name, part, by) for part in ("out-of-fold", "validation") for name, by in shifts.items()])
    lines = ablation.as_markdown(found).splitlines()
    supervised, soft = (next(line for line in lines if line.startswith(f"| {name}")) for name in ("supervised", "soft"))
    assert supervised.count("**-0.0300 (-0.0400 to -0.0200)**") == 4
    assert "**" not in soft
    assert "a/b" in soft  # a bar would end the cell
    assert OVER_SEEDS in soft
    assert {line.count("|") for line in lines if line.startswith("|")} == {12}
    alone = found.assign(interval=OVER_CLIPS)
    rows = [line for line in ablation.as_markdown(alone).splitlines() if line.startswith(("| supervised", "| soft"))]
    assert len(rows) == 4
    assert all(OVER_CLIPS in line and "**" not in line for line in rows)
    assert OVER_CLIPS in ablation.for_terminal(alone)
