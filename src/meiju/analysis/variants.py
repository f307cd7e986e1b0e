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
    variants = {FULL: Variant(FULL, FULL, "the run as it is", config)}

    def add(group: str, name: str, what: str, *, supervised: bool = False, **changes) -> None:
        # changes: by setting its value, or by group of settings those that are other ones
        new = {key: replace(getattr(config, key), **to) if isinstance(to, dict) else to for key, to in changes.items()}
        varied = replace(config, **new)
        if varied != config or supervised:
            variants[name] = Variant(name, group, what, varied, not supervised)

    def fused(fusion: str, heads: tuple[int, ...]) -> dict:
        seeds = max(1, len(every) // len(heads)) * config.train.seeds
        return {"model": {"fusion": fusion, "heads": heads}, "train": {"seeds": seeds}}

    every, first = config.model.heads, config.model.heads[:1]
    one, only = {"model": {"heads": first}, "train": {"seeds": 1}}, "labelled clips only"
    add("pseudo", "supervised-one-model", f"{only}, one model ({first[0]} heads)", supervised=True, **one)
    add("pseudo", "supervised", f"{only}, all members", supervised=True)
    add("pseudo", "gate-soft", "the whole pool, calibrated probabilities as targets", pseudo={"gate": "soft"})
    paper = {"gate": "paper", "threshold": 0.99}
    add("pseudo", "gate-paper", "accepted above 0.99 as the networks say it", pseudo=paper)
    add("pseudo", "warm-start", "stage 2 from the stage-1 weights", stage2={"warm_start": True})

    add("fusion", "concat", "tokens side by side (no heads, more seeds)", **fused("concat", first))
    add("fusion", "late", "one classifier per stream, averaged (no heads, more seeds)", **fused("late", first))
    add("fusion", "attention", "no interaction of tasks", **fused("attention", every))
    add("fusion", "interactive", "tasks interact", **fused("interactive", every))
    for heads in sorted({1, 2, 4, 8, *every}):
        if config.model.width % heads == 0:
            what = f"interactive, {heads} heads only, more seeds"
            add("fusion", f"heads-{heads}", what, **fused("interactive", (heads,)))
    add("fusion", "network-alone", "members without their logistic-regression head", model={"linear": 0.0})
    alike = "all streams weigh the same for both tasks"
    add("fusion", "equal-stream-weights", alike, model={"weigh_streams": False})

    add("punctuation", "punctuation-stripped", "all marks removed", punctuation="stripped")
    add("punctuation", "punctuation-given", "transcripts as given", punctuation="none")
    add("punctuation", "punctuation-refined", "punctuation restored", punctuation="crf")

    streams = dict(zip(config.encoders, config.streams, strict=True))
    for name, stream in streams.items():
        add("streams", f"only-{name}", f"{name} alone", streams=(stream,))
    for name in streams if len(streams) > 2 else ():  # of two streams, leaving one out is the other alone
        others = tuple(stream for other, stream in streams.items() if other != name)
        add("streams", f"without-{name}", f"without {name}", streams=others)
    return variants


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
