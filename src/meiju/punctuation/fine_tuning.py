"""Fine-tunes a token classification model with the Trainer of transformers."""

import sys
import tempfile
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from meiju import hub

BATCH = 32  # sentences a step
WARMUP = 0.1  # share of all steps in which the rate rises; then it falls to zero along a line


def fine_tune(
    network: PreTrainedModel,
    lessons: Sequence[dict[str, list[int]]],
    *,
    pad: int,
    epochs: int,
    lr: float,
    seed: int,
    device: torch.device,
) -> None:
    """Train `network` in place. lessons: input_ids and labels of each sentence, a label of -100 being left out."""

    def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        ids, labels = ([torch.tensor(lesson[key]) for lesson in batch] for key in ("input_ids", "labels"))
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),  # [B, T]
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
        }

    n_steps = epochs * -(-len(lessons) // BATCH)
    with tempfile.TemporaryDirectory() as scratch, hub.quietly():
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=lr,
            warmup_steps=round(WARMUP * n_steps),
            weight_decay=0.01,
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not sys.stderr.isatty(),
        )
        trainer = Trainer(network, arguments, data_collator=collate, train_dataset=list(lessons))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
