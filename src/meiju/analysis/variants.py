"""The variants of a run that an ablation compares with it: each is the run's settings with one decision changed.

Where a variant has fewer head counts than the run, it gets as many more seeds, so that all ensembles are of one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from meiju.config import Config, ConfigError

FULL = "full"
SUPERVISED = "supervised"
SHARES = (0.1, 0.25, 0.5, 0.75)  # of the labelled clips, for the low-resource curve


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: a name, its group, what is different in words, and its settings.

    share: of the labelled clips, where the variant is a point of the low-resource curve.
    """

    name: str
    group: str
    what: str
    config: Config
    pseudo: bool = True  # whether it has a second stage, with pseudo-labels
    share: float | None = None


def all_variants(config: Config) -> dict[str, Variant]:
    """Every variant of a run by name, the run itself (FULL) first."""
    variants = [
        Variant(FULL, FULL, "the run as it is", config, share=1.0),
        *_pseudo(config),
        *_fusion(config),
        *_punctuation(config),
        *_streams(config),
        *_low_resource(config),
    ]
    return {variant.name: variant for variant in variants}


def choose(config: Config, names: Sequence[str]) -> list[Variant]:
    """The full run and the variants asked for by name, by group, or as 'all'. Raises ConfigError for unknown names."""
    known = all_variants(config)
    groups = list(dict.fromkeys(variant.group for variant in known.values()))
    for name in names:
        if name not in ("all", *known, *groups):
            close = get_close_matches(name, [*known, *groups], n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(
                f"--variants: there is no {name!r}{hint}; known groups: all, {', '.join(groups[1:])}; "
                f"known variants: {', '.join(list(known)[1:])}"
            )
    wanted = {FULL, *names}
    if "low-resource" in wanted:  # its curve ends at all labelled clips, with and without pseudo-labels
        wanted.add(SUPERVISED)
    return [v for v in known.values() if "all" in wanted or v.name in wanted or v.group in wanted]


def _pseudo(config: Config) -> list[Variant]:
    def pseudo(name: str, what: str, **changes) -> Variant:
        return Variant(name, "pseudo", what, replace(config, pseudo=replace(config.pseudo, **changes)))

    def stage2(name: str, what: str, **changes) -> Variant:
        return Variant(name, "pseudo", what, replace(config, stage2=replace(config.stage2, **changes)))

    one = replace(config, model=replace(config.model, heads=config.model.heads[:1]), train=_seeds(config, 1))
    heads = config.model.heads[0]
    return [
        Variant("supervised-one-model", "pseudo", f"labelled clips only, one model ({heads} heads)", one, False),
        Variant(SUPERVISED, "pseudo", "labelled clips only, all members", config, False, share=1.0),
        pseudo("gate-soft", "the whole pool, calibrated probabilities as targets", gate="soft"),
        pseudo("gate-paper", "accepted above 0.99 as the networks say it", gate="paper", threshold=0.99),
        pseudo("gate-fixed", "accepted above a calibrated confidence of 0.99", gate="fixed", threshold=0.99),
        pseudo("gate-precision", f"accepted at a precision of {config.pseudo.precision:g}", gate="precision"),
        pseudo("gate-per-task", "a gate for each task", joint_gate=False),
        pseudo("gate-joint", "one gate for both tasks", joint_gate=True),
        pseudo("cap-none", "no cap per class", cap=None),
        pseudo("cap-labelled", "at most as many per class as labelled clips", cap=1.0),
        pseudo("pairs-known", "only pairs that labelled clips show", plausible_pairs=True),
        pseudo("pairs-any", "pairs of any kind", plausible_pairs=False),
        pseudo("rounds-1", "one round of pseudo-labels", rounds=1),
        pseudo("rounds-2", "two rounds of pseudo-labels", rounds=2),
        stage2("from-scratch", "labelled and pseudo-labelled together, from scratch", warm_start=False),
        stage2("warm-start", "the same, from the stage-1 weights", warm_start=True),
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
        *(variant(f"heads-{h}", f"interactive, {h} heads only, more seeds", "interactive", (h,)) for h in single),
        variant("heads-mean", "interactive, averaged over head counts", "interactive", every),
        Variant(
            "network-alone",
            "fusion",
            "members without their logistic-regression head",
            replace(config, model=replace(config.model, linear=0.0)),
        ),
        Variant(
            "streams-alike",
            "fusion",
            "all streams weigh alike for both tasks",
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


def _low_resource(config: Config) -> list[Variant]:
    variants = []
    for share in SHARES:
        # As many steps as the full run: a curve over labels must not be one over training time.
        epochs, last = (round(n / share) for n in (config.train.epochs, config.train.average_epochs))
        train = replace(config.train, labelled_share=share, epochs=epochs, average_epochs=last)
        small = replace(config, train=train)
        name, what = f"labelled-{share:.0%}".rstrip("%"), f"{share:.0%} of the labelled clips"
        variants += [
            Variant(f"{name}-supervised", "low-resource", f"{what}, no pseudo-labels", small, False, share),
            Variant(name, "low-resource", f"{what}, with pseudo-labels", small, share=share),
        ]
    return variants


def _seeds(config: Config, seeds: int):
    return replace(config.train, seeds=seeds)
