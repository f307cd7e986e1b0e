"""Trains a pretrained language model on the sentences of a corpus, before features are taken (no labels are needed).

Domain-adaptive pretraining (Gururangan et al. 2020, section 3), with the model's pretraining task: masked tokens for
BERT and similar models (Devlin et al. 2019, section 3.1), the next token for decoder-only models.
"""

from collections.abc import Sequence

import torch
import transformers
from torch import nn

from meiju.utils import hub

MASKED_SHARE = 0.15
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
) -> nn.Module:
    """The model in folder `place`, trained on the sentences for `epochs` epochs."""
    from meiju.encoders.fine_tuning import fine_tune

    config = hub.load(transformers.AutoConfig, place)
    masked = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    kind = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model = hub.load(kind, place, dtype=torch.float32)
    tokens = tokenizer(list(sentences), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    rows = [{"input_ids": ids} for ids in tokens]
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=MASKED_SHARE)
    fine_tune(model, rows, collate, epochs=epochs, lr=LEARNING_RATE, seed=seed, device=device)
    return model.cpu().eval()
