"""The network of a member: a fusion network and a logistic-regression head, which learn apart and predict together.

Axes as in meiju.models.layers.
"""

from torch import Tensor, nn

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS, Logits
from meiju.models.layers import Batch, InputSpec, MemberRandom, reset
from meiju.models.logistic_regression import LogisticRegressionHead


class MemberNetwork(nn.Module):
    """The stacked networks of one member per random stream, each initialised from its own stream.

    regression: the logistic-regression head, or None where --model.linear is 0.
    """

    def __init__(self, spec: InputSpec, config: ModelConfig, *, heads: int, random: MemberRandom):
        super().__init__()
        self.spec, self.n_members = spec, random.n_members
        self.fusion = FUSIONS[config.fusion](self.n_members, spec, config, heads, random)
        self.regression = LogisticRegressionHead(self.n_members, spec) if config.linear else None
        self.regression_share = config.linear
        self.to(random.device)
        reset(self, random)

    def forward(self, batch: Batch) -> Logits:
        """The logits that gradient steps learn from: the head takes no part in them, it is fitted by itself."""
        return self.fusion(batch)

    def log_probabilities(self, batch: Batch) -> dict[str, Tensor]:
        """What the members predict: by task (E, B, K) float32, the log of the mean of both parts' probabilities."""
        main = {task: logits.float() for task, logits in self(batch).main.items()}
        if self.regression is None:
            return {task: main[task].log_softmax(-1) for task in TASKS}
        regression, share = self.regression(batch), self.regression_share
        return {
            task: ((1 - share) * main[task].softmax(-1) + share * regression[task].softmax(-1)).clamp(min=1e-12).log()
            for task in TASKS
        }
