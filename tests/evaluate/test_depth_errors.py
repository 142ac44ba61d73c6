import numpy as np
import pytest

from dollhouse.errors import ModelError
from dollhouse.evaluate.depth import DepthScorer, align_depth, view_errors


def test_errors_of_a_known_view():
    truth = np.array([[1.0, 2.0], [4.0, 0.0]])
    predicted = np.array([[1.1, 1.0], [4.0, 99.0]])
    errors = view_errors(predicted, truth)
    assert errors["abs_rel"] == pytest.approx((0.1 + 0.5 + 0.0) / 3)
    assert errors["sq_rel"] == pytest.approx((0.01 + 0.5) / 3)
    assert errors["mae"] == pytest.approx(1.1 / 3)
    assert errors["rmse"] == pytest.approx(np.sqrt(1.01 / 3))
    assert errors["delta_1"] == errors["delta_2"] == pytest.approx(2 / 3)
    logs = np.log([1.1, 0.5, 1.0])
    assert errors["rmse_log"] == pytest.approx(np.sqrt(np.mean(logs**2)))
    assert errors["si_log"] == pytest.approx(np.std(logs))


def test_views_count_alike_whatever_their_valid_pixels():
    truth = np.ones((2, 4, 4))
    truth[0, :, 1:] = 0  # four valid pixels
    predicted = np.stack([np.full((4, 4), 1.5), np.full((4, 4), 1.1)])
    scorer = DepthScorer()
    assert scorer.add(predicted, truth) == pytest.approx(0.3)
    scorer.add(np.full((1, 4, 4), 2.0), np.zeros((1, 4, 4)))  # nothing valid: left out
    scorer.add(np.full((1, 4, 4), 1.0), np.full((1, 4, 4), 1.0))
    result = scorer.result()
    assert result is not None
    assert result["abs_rel"] == pytest.approx(0.6 / 3)
    assert (result["n"], result["scenes"], result["alignment"]) == (3, 2, "none")


def test_alignments_undo_what_they_name():
    truth = np.random.default_rng(0).uniform(1, 5, (3, 8, 8))
    assert np.allclose(align_depth(0.3 * truth, truth, "median"), truth)
    assert np.allclose(align_depth((truth - 0.7) / 2.5, truth, "least-squares"), truth)
    assert np.allclose(align_depth(0.3 * truth, truth, "none"), 0.3 * truth)
    with pytest.raises(ValueError, match="least-squares"):
        align_depth(truth, truth, "mean")  # type: ignore[arg-type]


def test_bad_predictions_are_not_passed_over():
    with pytest.raises(ModelError, match="not a finite"):
        DepthScorer().add(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="shape"):
        DepthScorer().add(np.ones((1, 2, 2)), np.ones((1, 2, 3)))
    assert DepthScorer().result() is None
