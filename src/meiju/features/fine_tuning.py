"""Trains a pretrained network further, with the Trainer of transformers."""

import sys
import tempfile
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from meiju.utils import hub

BATCH = 32  # sentences per step
WARMUP = 0.1  # share of all steps in which the learning rate rises; then it falls linearly to zero


def fine_tune(
    network: PreTrainedModel,
    rows: Sequence[dict],
    collate: Callable[[list[dict]], dict[str, torch.Tensor]],
    *,
    epochs: int,
    lr: float,
    seed: int,
    device: torch.device,
    batch_size: int = BATCH,
    loss: Callable | None = None,
    show_progress: bool = True,
) -> None:
    """Train `network` in place on the rows.

    collate: makes a batch of rows. loss(outputs, labels): replaces the network's own loss. There are no checkpoints: an
    interrupted training starts again, because the Trainer's checkpoints are pickles.
    """
    with tempfile.TemporaryDirectory() as scratch, hub.quietly():
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=lr,
            warmup_steps=round(WARMUP * epochs * -(-len(rows) // batch_size)),
            weight_decay=0.01,
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not (show_progress and sys.stderr.isatty()),
        )
        loss_func = loss and (lambda outputs, labels, **_: loss(outputs, labels))
        trainer = Trainer(
            network, arguments, data_collator=collate, train_dataset=list(rows), compute_loss_func=loss_func
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
