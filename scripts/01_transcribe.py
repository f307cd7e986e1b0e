"""01 - Speech to text for clips without a sentence.

Reads   the corpus' clips that have no sentence, in any part
Writes  work/<run>/transcription/: transcription.csv (name, sentence, reason where there is none)
Run     python scripts/01_transcribe.py track1-mandarin --corpus.root DIR --speech.model openai/whisper-large-v3
"""

from meiju import transcription
from meiju.devices import pick_device
from meiju.steps import main


def transcribe(run):
    clips = transcription.untranscribed(run.corpus.clips)
    if not run.transcribes:
        what = f"{len(clips)} clips without a sentence keep none (--speech.model none)"
        print(f"transcription: nothing to do; {what if len(clips) else 'every clip has a sentence'}")
        return
    if not run.begin("transcription"):
        return
    device = pick_device(run.config.device)
    table = transcription.transcribe(run.config.speech, clips, run.folder("transcription"), device=device)
    print(transcription.describe(table))
    run.finish("transcription")


if __name__ == "__main__":
    main(transcribe)
