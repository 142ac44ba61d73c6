"""Ridge regression by scikit-learn with grouped cross-validation: all samples of a scene share a fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dollhouse.errors import ScoreError
from dollhouse.geometry import Array

ALPHAS = np.logspace(-1, 5, 13)  #: penalties to choose from, on standardised features
FOLDS = 5


def require_scikit_learn() -> None:
    """Raise ScoreError where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ScoreError("linear probes need scikit-learn: pip install 'dollhouse[evaluate]'") from error


def ridge_regression(alphas: Array = ALPHAS) -> Any:
    """Build standardisation and ridge regression; each target's penalty minimises its leave-one-out error."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=alphas, alpha_per_target=True))


def cross_predict(estimator: Any, x: Array, y: Array, groups: Sequence[str], seed: int = 0) -> Array:
    """Predict ``y`` (n, t) from ``x`` (n, F), each sample by an estimator fitted on other groups.

    ``estimator`` None predicts the mean of the other folds: the level of chance.
    """
    from sklearn.dummy import DummyRegressor
    from sklearn.model_selection import GroupKFold, cross_val_predict

    folds = GroupKFold(min(FOLDS, len(set(groups))), shuffle=True, random_state=seed)
    predicted = cross_val_predict(estimator or DummyRegressor(), x, y, groups=np.asarray(groups), cv=folds)
    return np.asarray(predicted, dtype=np.float64).reshape(y.shape)
