import numpy as np

from peer import out_of_fold


def test_labels_that_show_are_told_and_those_that_do_not_are_not():
    rng = np.random.default_rng(0)
    labels, fold = np.arange(90) % 3, np.arange(90) // 3 % 5
    shown = np.eye(3)[labels] + rng.normal(0, 0.1, (90, 3))
    assert (out_of_fold(shown, labels, fold, n_jobs=1) == labels).mean() > 0.95
    assert (out_of_fold(rng.normal(size=(90, 3)), labels, fold, n_jobs=1) == labels).mean() < 0.6
