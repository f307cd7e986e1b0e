"""What a preset of the challenge costs on a CPU: its models at their true sizes, with random weights, on sample clips.

A cache of models is made as a download would leave it, of the published sizes (but for vocabularies), with weights in
float16; they are computed with in float32. Then all steps run in one process without a network, as run_all.sh runs
them, and for each step and stream there are: time, time of all processors, and the most memory of the process with its
workers (their proportional set size, looked at every quarter of a second). Random weights cost what trained ones do,
but for Whisper, which would not end its sentences: it is stopped after --tokens of them, about as many as a sentence of
the corpus has.

Reads   nothing
Writes  the folder HOME (a temporary one by default, which is removed); 7 GB of it are models
Run     nice .venv/bin/python tests/tools/full_size.py --pool 12
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import preset_models
from local_hub import SCRIPTS, make_corpus, models_of
from meiju.cli import help_text

GB = 1e9
PHASE_ENDS = re.compile(r"(\w+): \d+ frames of width")  # what step 03 prints when a stream is done
STEP_STARTS = re.compile(r"== (\w+)")
COMMIT = "0" * 40


@dataclass
class Phase:
    """A step, or a stream of step 03."""

    name: str
    started: float
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of all processors
    peak: float = 0.0  # bytes


@dataclass
class Watch:
    """Looks at a process and its workers until it ends, and tells phases apart by what it prints."""

    process: subprocess.Popen
    phases: list[Phase] = field(default_factory=lambda: [Phase("start", time.perf_counter())])
    cpu_before: float = 0.0

    def follow(self) -> None:
        """Print what the process prints, and measure."""
        threading.Thread(target=self._sample, daemon=True).start()
        for line in self.process.stdout:
            print(line, end="", flush=True)
            if found := STEP_STARTS.match(line):
                self._begin(found[1])
            elif found := PHASE_ENDS.match(line):
                self.phases[-1].name = f"{self.phases[-1].name.split(':')[0]}: {found[1]}"
                self._begin(self.phases[-1].name.split(":")[0])
        self.process.wait()
        self._end()

    def _begin(self, name: str) -> None:
        self._end()
        self.phases.append(Phase(name, time.perf_counter()))

    def _end(self) -> None:
        phase, cpu = self.phases[-1], self._cpu()
        phase.seconds, phase.cpu = time.perf_counter() - phase.started, cpu - self.cpu_before
        self.cpu_before = cpu
        print(f"[{phase.name}: {phase.seconds:.0f} s, {phase.cpu:.0f} s of CPU, {phase.peak / GB:.2f} GB]", flush=True)

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _cpu(self) -> float:
        total = 0.0
        for member in self._family():
            try:
                total += sum(member.cpu_times()[:4])  # with those of its children that have ended
            except psutil.Error:
                continue
        return max(total, self.cpu_before)

    def _sample(self) -> None:
        while self.process.poll() is None:
            memory = 0
            for member in self._family():
                try:
                    memory += member.memory_full_info().pss
                except psutil.Error:
                    continue
            self.phases[-1].peak = max(self.phases[-1].peak, memory)
            time.sleep(0.25)


LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}


def enlarge() -> None:
    """Give the tiny models of the presets the sizes of the true ones, but for their vocabularies, in float16."""
    torch.set_default_dtype(torch.float16)
    for config in (preset_models.BERT, preset_models.ROBERTA, preset_models.HUBERT, preset_models.CLIP["vision"]):
        config |= LARGE
    preset_models.HUBERT |= {"conv_dim": [512] * 7, "num_conv_pos_embedding_groups": 16, "num_conv_pos_embeddings": 128}
    preset_models.CLIP["vision"] |= {"patch_size": 14}
    preset_models.WHISPER |= {"d_model": 1280, "num_hidden_layers": 32}
    for side in ("encoder", "decoder"):
        sizes = {"layers": 32, "ffn_dim": 5120, "attention_heads": 20}
        preset_models.WHISPER |= {f"{side}_{what}": n for what, n in sizes.items()}


def fill_cache(cache: Path, models: list[str], *, tokens: int) -> None:
    """Put the models into a cache, each as the main revision. tokens: the most that Whisper writes of a clip."""
    enlarge()
    for model in models:
        repository = cache / "hub" / f"models--{model.replace('/', '--')}"
        folder = preset_models.write(model, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        for path in folder.glob("generation_config.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"max_length": tokens}))
        print(f"{model}: {size_of(folder) / GB:.2f} GB on the disk", flush=True)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def full_size(
    preset: str = "track1-mandarin",
    training: int = 18,
    others: int = 5,
    pool: int = 12,
    tokens: int = 24,
    home: Path | None = None,
    flags: tuple[str, ...] = (),
) -> None:
    """Measure a preset on a corpus of `training` clips, twice `others`, and `pool` clips without a transcript."""
    folder = home or Path(tempfile.mkdtemp(prefix="full-size-"))
    try:
        # In a process of its own, so that its memory does not count below.
        if not (folder / "cache").exists():
            subprocess.run([sys.executable, __file__, "fill-cache", folder, preset, str(tokens)], check=True)
        if not (folder / "corpus").exists():
            make_corpus(folder / "corpus", n_training=training, n_others=others, n_pool=pool)
        command = [sys.executable, str(SCRIPTS / "run_all.py"), preset, "--home", str(folder), "--device", "cpu"]
        command += ["--corpus.root", str(folder / "corpus"), "--folds", "3", "--speech.prompt", "", *flags]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        watch = Watch(process)
        watch.follow()
        n_clips = training + 2 * others + pool
        rows = [(p.name, p.seconds, p.cpu, p.cpu / n_clips, p.peak / GB) for p in watch.phases]
        table = pd.DataFrame(rows, columns=["phase", "seconds", "CPU seconds", "CPU seconds a clip", "GB at most"])
        print(table.round(2).to_string(index=False))
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(f"{n_clips} clips, {pool} and a few without a sentence; ended with status {process.returncode}")
        sizes = ", ".join(f"{part}: {size_of(folder / part) / GB:.3f} GB" for part in ("cache", "work"))
        print(f"the largest process, by the kernel: {largest / GB:.2f} GB; {sizes}")
    finally:
        if home is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill-cache"]:
        fill_cache(Path(sys.argv[2]) / "cache", models_of(sys.argv[3]), tokens=int(sys.argv[4]))
    else:
        tyro.cli(full_size, description=help_text(__doc__))
