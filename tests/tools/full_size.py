"""What a preset of the challenge costs on a CPU: its models at their true sizes, with random weights, on sample clips.

A cache of models is made as a download would leave it, of the published sizes (but for vocabularies), with weights in
float16; they are computed with in float32. Then each step runs without a network, step 03 once for each stream, and for
each there are: time, time of all processors, and the most memory of a single process. Step 03 once more, with nothing
left to do, shows what the start of each process costs. Random weights cost what trained ones do, but for Whisper, which
would not end its sentences: it is stopped after --tokens of them, about as many as a sentence of the corpus has.

Reads   nothing
Writes  the folder HOME (a temporary one by default, which is removed); 7 GB of it are models
Run     nice .venv/bin/python tests/tools/full_size.py --pool 12
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import preset_models
from local_hub import make_corpus, models_of
from meiju.cli import help_text
from meiju.presets import PRESETS
from toy_run import SCRIPTS, STEPS

COMMIT = "0" * 40


def fill_cache(cache: Path, models: list[str], tokens: int) -> None:
    """Put the models into a cache, each as the main revision. tokens: the most that Whisper writes of a clip."""
    torch.set_default_dtype(torch.float16)
    for model in models:
        repository = cache / "hub" / f"models--{model.replace('/', '--')}"
        folder = preset_models.write(model, repository / "snapshots" / COMMIT, large=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        if "whisper" in model:
            path = folder / "generation_config.json"
            settings = json.loads(path.read_text()) | {"max_new_tokens": tokens}
            del settings["num_beams"]
            path.write_text(json.dumps(settings))


def full_size(
    preset: str = "track1-mandarin", training: int = 18, pool: int = 12, tokens: int = 24, home: Path | None = None
) -> None:
    """Measure a preset on a corpus of `training` clips, 10 others, and `pool` clips without a transcript."""
    n_clips = training + 10 + pool
    with tempfile.TemporaryDirectory(prefix="full-size-") as temporary:
        folder = home or Path(temporary)
        if not (folder / "cache").exists():
            fill_cache(folder / "cache", models_of(preset), tokens)
        if not (folder / "corpus").exists():
            make_corpus(folder / "corpus", n_training=training, n_others=5, n_pool=pool)
        given = ["--home", str(folder), "--device", "cpu", "--corpus.root", str(folder / "corpus"), "--folds", "3"]
        given += ["--speech.prompt", ""]
        streams = [["03_extract_features", "--streams", "=".join(s)] for s in PRESETS[preset][1].encoders.items()]
        rows = []
        for step, *more in [["01_transcribe"], [STEPS[0]], *streams, *([step] for step in STEPS[1:])]:
            command = [sys.executable, str(SCRIPTS / f"{step}.py"), preset, *given, *more]
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
            started = time.perf_counter()
            _, status, used = os.wait4(subprocess.Popen(command, env=environment).pid, 0)  # with its own workers
            if status:
                raise SystemExit(f"{step} ended with status {status}")
            seconds, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
            rows.append((" ".join([step, *more[1:]]), seconds, cpu, cpu / n_clips, used.ru_maxrss / 1e6))
        table = pd.DataFrame(rows, columns=["step", "seconds", "CPU seconds", "CPU seconds a clip", "GB at most"])
        print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    tyro.cli(full_size, description=help_text(__doc__))
