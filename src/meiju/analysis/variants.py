"""The variants of a run that an ablation compares with it: each is the run's settings with one decision changed.

Where a variant has fewer head counts than the run, it gets as many more seeds, so that all ensembles are of one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from meiju.config import Config, ConfigError

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: a name, its group, what is different in words, and its settings."""

    name: str
    group: str
    what: str
    config: Config
    pseudo: bool = True  # whether it has a second stage, with pseudo-labels


def all_variants(config: Config) -> dict[str, Variant]:
    """Every variant of a run by name, the run itself (FULL) first; none of the others has its settings."""
    variants = [*_pseudo(config), *_fusion(config), *_punctuation(config), *_streams(config)]
    full = Variant(FULL, FULL, "the run as it is", config)
    return {v.name: v for v in (full, *(v for v in variants if v.config != config or not v.pseudo))}


def choose(config: Config, names: Sequence[str]) -> list[Variant]:
    """The full run and the variants asked for by name, by group, or as 'all'. Raises ConfigError for unknown names."""
    known = all_variants(config)
    groups = list(dict.fromkeys(variant.group for variant in known.values()))
    for name in names:
        if name not in ("all", *known, *groups):
            raise ConfigError(
                f"--variants: no variant {name!r} differs from the run; known groups: all, {', '.join(groups[1:])}; "
                f"known variants: {', '.join(list(known)[1:])}"
            )
    wanted = {FULL, *names}
    return [v for v in known.values() if "all" in wanted or v.name in wanted or v.group in wanted]


def _pseudo(config: Config) -> list[Variant]:
    def pseudo(name: str, what: str, **changes) -> Variant:
        return Variant(name, "pseudo", what, replace(config, pseudo=replace(config.pseudo, **changes)))

    warm = replace(config.stage2, warm_start=True)
    one = replace(config, model=replace(config.model, heads=config.model.heads[:1]), train=_seeds(config, 1))
    heads = config.model.heads[0]
    return [
        Variant("supervised-one-model", "pseudo", f"labelled clips only, one model ({heads} heads)", one, False),
        Variant("supervised", "pseudo", "labelled clips only, all members", config, False),
        pseudo("gate-soft", "the whole pool, calibrated probabilities as targets", gate="soft"),
        pseudo("gate-paper", "accepted above 0.99 as the networks say it", gate="paper", threshold=0.99),
        Variant("warm-start", "pseudo", "stage 2 from the stage-1 weights", replace(config, stage2=warm)),
    ]


def _fusion(config: Config) -> list[Variant]:
    def variant(name: str, what: str, fusion: str, heads: tuple[int, ...]) -> Variant:
        model = replace(config.model, fusion=fusion, heads=heads)
        train = _seeds(config, max(1, len(config.model.heads) // len(heads)) * config.train.seeds)
        return Variant(name, "fusion", what, replace(config, model=model, train=train))

    first, every = config.model.heads[:1], config.model.heads
    single = [h for h in sorted({1, 2, 4, 8, *every}) if config.model.width % h == 0]
    return [
        variant("concat", "tokens side by side (no heads, more seeds)", "concat", first),
        variant("late", "one classifier per stream, averaged (no heads, more seeds)", "late", first),
        variant("attention", "no interaction of tasks", "attention", every),
        variant("interactive", "tasks interact", "interactive", every),
        *(variant(f"heads-{h}", f"interactive, {h} heads only, more seeds", "interactive", (h,)) for h in single),
        Variant(
            "network-alone",
            "fusion",
            "members without their logistic-regression head",
            replace(config, model=replace(config.model, linear=0.0)),
        ),
        Variant(
            "equal-stream-weights",
            "fusion",
            "all streams weigh the same for both tasks",
            replace(config, model=replace(config.model, weigh_streams=False)),
        ),
    ]


def _punctuation(config: Config) -> list[Variant]:
    kinds = {
        "stripped": ("stripped", "all marks removed"),
        "given": ("none", "transcripts as given"),
        "refined": ("crf", "punctuation restored"),
    }
    return [
        Variant(f"punctuation-{name}", "punctuation", what, replace(config, punctuation=kind))
        for name, (kind, what) in kinds.items()
    ]


def _streams(config: Config) -> list[Variant]:
    streams = dict(zip(config.encoders, config.streams, strict=True))
    if len(streams) == 1:
        return []
    alone = [
        Variant(f"only-{name}", "streams", f"{name} alone", replace(config, streams=(stream,)))
        for name, stream in streams.items()
    ]
    # Of two streams, leaving one out is the other alone.
    left_out = [] if len(streams) == 2 else list(streams)
    return alone + [
        Variant(
            f"without-{name}",
            "streams",
            f"without {name}",
            replace(config, streams=tuple(s for other, s in streams.items() if other != name)),
        )
        for name in left_out
    ]


def _seeds(config: Config, seeds: int):
    return replace(config.train, seeds=seeds)
