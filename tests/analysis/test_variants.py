from dataclasses import replace

import pytest

from meiju.analysis.variants import FULL, all_variants, choose
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
