"""The logistic-regression head of a member, on the mean and the standard deviation of each stream's frames.

A network on a few thousand clips finds what no line can separate, and memorises much besides; the regression, fitted to
the end under a strong penalty, does neither. They err on different clips, so a member predicts the mean of both.

Axes as in meiju.models.layers, and P pooled values of all streams.
"""

import numpy as np
import torch
from torch import Tensor, nn

from meiju.data.labels import TASKS
from meiju.models.layers import Batch, InputSpec

# A regression's coefficients have this many times the variance that ridge regression chose for them (meiju.
# stream_weights): it predicts logits, which differ more than the 0 and 1 that ridge regression predicts.
PRIOR = 3.0
PLAIN_VARIANCE = 1 / 6  # of every stream where none is chosen
CONSTANT = 1e-10  # a variance below this share of the squared mean, or of the stream's largest, is rounding of float32
NEVER_SEEN = -10.0  # logit of a class that no clip to learn from has


class LogisticRegressionHead(nn.Module):
    """E logistic regressions per task. What they have learnt are buffers: gradient steps leave them alone."""

    def __init__(self, members: int, spec: InputSpec):
        super().__init__()
        self.single = spec.single
        self.widths = {stream: dim * (1 if stream in spec.single else 2) for stream, dim in spec.streams.items()}
        width = sum(self.widths.values())
        self.register_buffer("centre", torch.zeros(members, 1, width))
        self.register_buffer("scale", torch.ones(members, 1, width))
        for task in TASKS:
            self.register_buffer(f"weight_{task}", torch.zeros(members, width, spec.classes[task]))
            self.register_buffer(f"bias_{task}", torch.zeros(members, 1, spec.classes[task]))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # -> by task logits (E, B, K)
        pooled, there = self.pool(batch)
        x = (pooled - self.centre) * self.scale * there  # what is not there lies at the mean
        return {
            task: torch.baddbmm(getattr(self, f"bias_{task}"), x, getattr(self, f"weight_{task}")) for task in TASKS
        }

    def pool(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean over each stream's frames and, where a clip has more than one, standard deviation: (E, B, P).

        And (E, B, P) bool: False for the values of a stream that the clip lacks.
        """
        pooled, there = [], []
        for stream, width in self.widths.items():
            x, mask = batch.frames[stream].float(), batch.mask[stream][..., None]  # (E, B, T, dim), (E, B, T, 1)
            n = mask.sum(dim=2).clamp(min=1)
            mean = (x * mask).sum(dim=2) / n
            pooled.append(mean)
            if stream not in self.single:
                pooled.append((((x - mean[:, :, None]) * mask).square().sum(dim=2) / n).sqrt())
            there.append(mask.any(dim=2).expand(-1, -1, width))
        return torch.cat(pooled, dim=-1), torch.cat(there, dim=-1)

    def set_moments(self, member: int, pooled: np.ndarray, there: np.ndarray) -> None:
        """Set a member's centre and scale by rows [N, P], as from `pool`.

        Then every stream has a mean squared length of 1: all weigh alike at first. A value that does not vary has a
        scale of 0, and takes no part in its stream's length.
        """
        n = np.maximum(there.sum(axis=0), 1)
        centre = np.where(there, pooled, 0).sum(axis=0) / n
        variance = (np.where(there, pooled - centre, 0) ** 2).sum(axis=0) / n
        scales = []
        for stream, its, mean in zip(self.widths, *map(self.by_stream, (variance, centre)), strict=True):
            varies = its > CONSTANT * np.maximum(mean**2, its.max())
            # As in the network, one scale for all dimensions of a single frame: the last ones of an SVD are random.
            length = np.full_like(its, its.sum()) if stream in self.single else its * np.count_nonzero(varies)
            scales.append(np.where(varies, 1 / np.sqrt(np.where(varies, length, 1)), 0))
        self.centre[member], self.scale[member] = torch.from_numpy(centre), torch.from_numpy(np.concatenate(scales))

    def standardise(self, member: int, pooled: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Rows [N, P], as from `pool`, by the member's centre and scale."""
        return (pooled - self.centre[member].cpu().numpy()) * self.scale[member].cpu().numpy() * there

    def by_stream(self, values: np.ndarray) -> list[np.ndarray]:
        """Values [..., P] cut into those of each stream."""
        return np.split(values, np.cumsum([*self.widths.values()])[:-1], axis=-1)

    def fit(
        self, member: int, x: np.ndarray, targets: dict[str, np.ndarray], weight: dict, variances: dict[str, np.ndarray]
    ) -> None:
        """Fit one member.

        x: its standardised rows [N, P]; targets[task] [N, K] probabilities, weight[task] [N], variances[task] [S] of
        the streams (see meiju.models.stream_weights). Minimises the weighted cross-entropy with the targets, be they
        one-hot or not, and the penalty of a normal prior on the coefficients.
        """
        for task in TASKS:
            # A coefficient of variance v is one of variance 1 on values that are sqrt(v) times as large.
            deviation = np.sqrt(PRIOR * np.repeat(variances[task], [*self.widths.values()])).astype(x.dtype)
            # Cross-entropy is linear in its target: a row with shares of several classes equals as many rows, each of
            # one class and weighted by its share.
            share = targets[task] * weight[task][:, None]
            row, label = np.nonzero(share)
            scaled = x[row]
            scaled *= deviation  # in place: with a large pool, rows are many megabytes
            weights, bias = _logistic(scaled, label, share[row, label], n_classes=share.shape[1])
            getattr(self, f"weight_{task}")[member] = torch.from_numpy(weights * deviation[:, None])
            getattr(self, f"bias_{task}")[member] = torch.from_numpy(bias)


def _logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [P, K] and bias [1, K] of a multinomial regression; with clips of one class or none, a bias alone."""
    from sklearn.linear_model import LogisticRegression  # takes a second, and predictions need none of it

    classes = np.unique(y)
    weights = np.zeros((x.shape[1], n_classes))
    bias = np.full((1, n_classes), NEVER_SEEN if len(classes) else 0.0)
    bias[:, classes] = 0
    if len(classes) > 1:
        model = LogisticRegression(C=1, max_iter=1000).fit(x, y, sample_weight=weight)
        # Of two classes, scikit-learn keeps the logit of the second alone.
        kept = classes[1:] if len(classes) == 2 else classes
        weights[:, kept], bias[:, kept] = model.coef_.T, model.intercept_
    return weights, bias
