"""Weights that are stored in 16 bits are computed with in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import ModelError

onnx = pytest.importorskip("onnx", reason="pip install 'dollhouse[export]'")


def test_halved_weights_are_cast_back() -> None:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from dollhouse.deploy.quantize import halved

    rng = np.random.default_rng(0)
    weight, large = rng.normal(size=(64, 32)).astype(np.float32), np.full((32, 64), 1e6, np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"]), helper.make_node("MatMul", ["y", "large"], ["z"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 64]) for name in "xz"]
    weights = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(large, "large")]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], weights)
    model = halved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    assert kinds == {"weight.half": TensorProto.FLOAT16, "large": TensorProto.FLOAT}  # what 16 bits cannot hold stays
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(size=(3, 64)).astype(np.float32)
    (z,) = session.run(None, {"x": x})
    np.testing.assert_allclose(z, x @ weight.astype(np.float16).astype(np.float32) @ large, rtol=1e-4, atol=100)


def test_a_graph_that_no_file_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dollhouse.deploy import quantize

    monkeypatch.setattr(quantize, "MOST_IN_FILE", 100)
    monkeypatch.setattr(quantize, "GRAPHS", ("language",))
    (tmp_path / "language.onnx").write_bytes(b"small")
    (tmp_path / "language.onnx.data").write_bytes(bytes(200))
    with pytest.raises(ModelError, match=r"language graph takes 0\.0 GB in float32, .*--precision int8 or int4"):
        quantize.write_precision(tmp_path, tmp_path / "float32", "float32")
