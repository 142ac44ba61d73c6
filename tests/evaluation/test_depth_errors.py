import numpy as np
import pytest

from dollhouse.errors import ModelError
from dollhouse.evaluation.metrics.depth import DepthScorer, align_depth, view_errors


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
    assert np.allclose(align_depth(0.3 * truth, truth, "none"), 0.3 * truth)
    with pytest.raises(ValueError, match="none or median"):
        align_depth(truth, truth, "mean")  # type: ignore[arg-type]


def test_bad_predictions_are_not_passed_over():
    with pytest.raises(ModelError, match="not a finite"):
        DepthScorer().add(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="shape"):
        DepthScorer().add(np.ones((1, 2, 2)), np.ones((1, 2, 3)))
    assert DepthScorer().result() is None


def test_a_whole_set_names_its_alignment():
    truth = np.random.default_rng(1).uniform(1, 5, (2, 6, 6))
    for alignment, predicted in (("none", truth), ("median", 3 * truth)):
        scorer = DepthScorer(alignment)
        scorer.add(predicted, truth)
        scorer.add(predicted[:1], truth[:1])
        result = scorer.result()
        assert result is not None
        assert (result["alignment"], result["n"], result["scenes"]) == (alignment, 3, 2)
        assert result["abs_rel"] == pytest.approx(0.0, abs=1e-12)
        assert result["delta_1"] == 1.0


def slow_errors(predicted, truth):
    """Plain reference: one valid pixel after the other, straight from the definitions."""
    pairs = [(p, t) for p, t in zip(predicted.ravel(), truth.ravel(), strict=True) if t > 0]
    logs = [np.log(p) - np.log(t) for p, t in pairs]
    mean = sum(logs) / len(logs)
    return {
        "abs_rel": sum(abs(p - t) / t for p, t in pairs) / len(pairs),
        "sq_rel": sum((p - t) ** 2 / t for p, t in pairs) / len(pairs),
        "rmse": (sum((p - t) ** 2 for p, t in pairs) / len(pairs)) ** 0.5,
        "mae": sum(abs(p - t) for p, t in pairs) / len(pairs),
        "rmse_log": (sum(log**2 for log in logs) / len(pairs)) ** 0.5,
        "si_log": (sum((log - mean) ** 2 for log in logs) / len(pairs)) ** 0.5,
        **{f"delta_{n}": sum(max(p / t, t / p) < 1.25**n for p, t in pairs) / len(pairs) for n in (1, 2, 3)},
    }


def test_errors_against_a_plain_reference():
    generator = np.random.default_rng(2)
    truth = generator.uniform(0.5, 6, (12, 9)) * (generator.uniform(size=(12, 9)) > 0.2)
    predicted = np.maximum(truth, 1.0) * generator.lognormal(0, 0.3, truth.shape)
    errors, expected = view_errors(predicted, truth), slow_errors(predicted, truth)
    assert errors == {name: pytest.approx(value, rel=1e-9) for name, value in expected.items()}
    assert 0 < errors["delta_1"] < errors["delta_2"] < 1
