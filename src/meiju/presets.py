"""The settings of a run, by the name of its preset; flags change single ones.

Presets differ in values only: nothing else in the package asks which preset it runs.
"""

from typing import Literal

from meiju.config import EMBEDDED_STREAMS, REPOSITORY, Config, CorpusConfig, ModelConfig, SpeechConfig, VisualConfig

# What wins on clips of this kind: HuBERT and CLIP lead the rankings of MERBench and the MER challenges, RoBERTa and
# MacBERT change places from year to year, so both are in.
MANDARIN_STREAMS = (
    "roberta=hf:hfl/chinese-roberta-wwm-ext-large",
    "macbert=hf:hfl/chinese-macbert-large",
    "audio=hf:TencentGameMate/chinese-hubert-large",
    "visual=hf:openai/clip-vit-large-patch14",
)
ENGLISH_STREAMS = (
    "text=hf:FacebookAI/roberta-large",
    "audio=hf:facebook/hubert-large-ll60k",
    "visual=hf:openai/clip-vit-large-patch14",
)


def _challenge(run: str, average: Literal["weighted", "micro"], language: str) -> Config:
    return Config(
        run,
        streams=MANDARIN_STREAMS if language == "zh" else ENGLISH_STREAMS,
        corpus=CorpusConfig(average=average),
        # The unlabelled pool comes without transcripts.
        speech=SpeechConfig(model="openai/whisper-large-v3", language=language),
        # Faces, as in the features that those rankings are of.
        visual=VisualConfig(crop="auto", fps=2.0),
    )


SAMPLE_ROOT = REPOSITORY / "work" / "sample-corpus"

PRESETS: dict[str, tuple[str, Config]] = {
    # Two numbers of heads, so that a first run takes four minutes at most.
    "sample": (
        "The embedded, made-up sample corpus.",
        Config("sample", corpus=CorpusConfig(root=SAMPLE_ROOT), model=ModelConfig(heads=(2, 8))),
    ),
    "track1-mandarin": ("MEIJU@2025 Track 1, Mandarin.", _challenge("track1-mandarin", "weighted", "zh")),
    "track1-english": ("MEIJU@2025 Track 1, English.", _challenge("track1-english", "weighted", "en")),
    "track2-mandarin": ("MEIJU@2025 Track 2, Mandarin.", _challenge("track2-mandarin", "micro", "zh")),
    "track2-english": ("MEIJU@2025 Track 2, English.", _challenge("track2-english", "micro", "en")),
    "custom": (
        "Any corpus in the official layout, with label names of its own.",
        Config("custom", corpus=CorpusConfig(labels="training-file")),
    ),
    "small": (
        "As custom, with the small speech encoder of Whisper base: for a laptop, after a download of 0.3 GB.",
        Config(
            "small",
            corpus=CorpusConfig(labels="training-file"),
            streams=(*EMBEDDED_STREAMS, "sound=hf:openai/whisper-base"),
            speech=SpeechConfig(model="openai/whisper-base"),
        ),
    ),
}
