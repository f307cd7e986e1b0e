"""A fitted linear-chain CRF as arrays, and its probabilities computed in NumPy.

CRFsuite fits the weights. Its own file is read once, by the process that has just written it: CRFsuite's reader trusts
what a file says of itself, and a damaged one ends the process. So a run keeps arrays, which can be passed on.
"""

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pycrfsuite

from meiju.utils import files


class Tagger:
    """Probabilities of the labels of a sequence.

    attributes: what items can have, in order. Float64 weights: state [attributes, labels], transition [before, labels].
    """

    def __init__(self, labels: Sequence[str], attributes: Sequence[str], state: np.ndarray, transition: np.ndarray):
        self.labels, self.state, self.transition = list(labels), state, transition
        self.attributes = {attribute: k for k, attribute in enumerate(attributes)}

    def marginals(self, items: Sequence[Collection[str]]) -> np.ndarray:
        """Probability [T, labels] of each label at each item, by the forward-backward algorithm.

        items: the attributes of each; those that are not known count for nothing.
        """
        known = [[self.attributes[attribute] for attribute in item if attribute in self.attributes] for item in items]
        ends = np.cumsum([0, *map(len, known)])
        total = np.cumsum(self.state[list(itertools.chain(*known))], axis=0)  # [attributes of all items, labels]
        total = np.concatenate([np.zeros((1, len(self.labels))), total])
        scores = total[ends[1:]] - total[ends[:-1]]  # [T, labels]
        # Constant factors cancel out, so each step is scaled to what a float holds.
        potential = np.exp(scores - scores.max(axis=1, keepdims=True))
        transition = np.exp(self.transition - self.transition.max())
        forward, backward = potential.copy(), np.ones_like(potential)
        for t in range(1, len(items)):
            forward[t] *= forward[t - 1] @ transition
            forward[t] /= forward[t].sum()
        for t in range(len(items) - 2, -1, -1):
            backward[t] = transition @ (potential[t + 1] * backward[t + 1])
            backward[t] /= backward[t].sum()
        both = forward * backward
        return both / both.sum(axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write the arrays as .npz."""
        names = {"labels": np.array(self.labels), "attributes": np.array(list(self.attributes))}
        with files.atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, state=self.state, transition=self.transition, **names)

    @classmethod
    def load(cls, path: Path) -> "Tagger":
        """Read what `save` wrote. Raises Damaged if it is anything else."""
        with files.reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            labels, attributes = arrays["labels"].tolist(), arrays["attributes"].tolist()
            return cls(labels, attributes, arrays["state"], arrays["transition"])

    @classmethod
    def from_crfsuite(cls, path: Path) -> "Tagger":
        """The tagger of a .crfsuite file that this process has written."""
        tagger = pycrfsuite.Tagger()
        tagger.open(str(path))
        model = tagger.info()
        column, row = ({name: k for k, name in enumerate(names)} for names in (model.labels, model.attributes))
        state, transition = np.zeros((len(row), len(column))), np.zeros([len(column)] * 2)
        for (attribute, label), weight in model.state_features.items():
            state[row[attribute], column[label]] = weight
        for (before, label), weight in model.transitions.items():
            transition[column[before], column[label]] = weight
        return cls(list(column), list(row), state, transition)
