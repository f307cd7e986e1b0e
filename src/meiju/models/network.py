"""The network of a member: a fusion network and a logistic-regression head, which learn apart and predict together.

Axes as in meiju.models.layers.
"""

from torch import Tensor, nn

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS, Logits
from meiju.models.layers import Batch, InputSpec, MemberRandom, NoRandom, reset
from meiju.models.logistic_regression import LogisticRegressionHead

HEAD_KEYS = "linear."  # how the names of the head's weights begin on disk; the fusion network's stand as they are


class MemberNetwork(nn.Module):
    """The stacked networks of one member per random stream, each initialised from its own stream.

    regression: the logistic-regression head, or None where --model.linear is 0. Where `random` is NoRandom, weights
    hold whatever lies in memory, until they are loaded.
    """

    def __init__(self, spec: InputSpec, config: ModelConfig, *, heads: int, random: MemberRandom):
        super().__init__()
        self.spec, self.n_members = spec, random.n_members
        self.fusion = FUSIONS[config.fusion](self.n_members, spec, config, heads, random)
        self.regression = LogisticRegressionHead(self.n_members, spec) if config.linear else None
        self.regression_share = config.linear
        self.to(random.device)
        if not isinstance(random, NoRandom):
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

    def weights(self) -> dict[str, Tensor]:
        """All that the members have learnt, each [E, ...], by its name on disk."""
        head = {} if self.regression is None else self.regression.state_dict(prefix=HEAD_KEYS)
        return self.fusion.state_dict() | head

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take over what `weights` gave. Raises RuntimeError where names or shapes differ."""
        head = {name for name in weights if name.startswith(HEAD_KEYS)}
        renamed = {name: f"regression.{name.removeprefix(HEAD_KEYS)}" for name in head}
        self.load_state_dict({renamed.get(name, f"fusion.{name}"): weight for name, weight in weights.items()})
