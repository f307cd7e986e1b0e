"""Trains a pretrained language model on a corpus' own sentences, before features are taken (no labels are needed).

Domain-adaptive pretraining (Gururangan et al. 2020, section 3), with the task the model was pretrained on: masked
tokens for BERT and its kin (Devlin et al. 2019, section 3.1), the next token for decoder-only models.
"""

import tempfile
from collections.abc import Sequence

import torch
import transformers
from transformers.models.auto import modeling_auto as auto

from meiju import hub

MASKED_SHARE = 0.15
BATCH = 32  # sentences a step
LEARNING_RATE = 5e-5
MAX_TOKENS = 128  # of a sentence; lines of dialogue are far shorter


def adapt(
    place: str,
    tokenizer: transformers.PreTrainedTokenizerBase,
    sentences: Sequence[str],
    *,
    epochs: int,
    seed: int,
    device: torch.device,
) -> transformers.PreTrainedModel:
    """The model in folder `place`, trained on the sentences for so many epochs."""
    config = hub.load(transformers.AutoConfig, place)
    masked = type(config) in auto.MODEL_FOR_MASKED_LM_MAPPING
    kind = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model = hub.load(kind, place, dtype=torch.float32)
    tokens = tokenizer(list(sentences), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    rows = [{"input_ids": ids} for ids in tokens]
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=MASKED_SHARE)
    with tempfile.TemporaryDirectory() as scratch, hub.quietly():
        arguments = transformers.TrainingArguments(
            scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=0.1,
            seed=seed,
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=None,
            dataloader_pin_memory=device.type == "cuda",
        )
        transformers.Trainer(model, arguments, data_collator=collator, train_dataset=rows).train()
    return model.cpu().eval()
