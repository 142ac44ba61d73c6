"""Lower the precision of exported graphs with ONNX Runtime's quantisers, and optimise them.

Weights of the language model are stored in blocks of 8 or 4 bits. Those of the other graphs are stored in 16 bits and
computed in float32: convolutions take most of their time, and a patch's label that products in int8 change can
move a box by metres.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from dollhouse.errors import ModelError
from dollhouse.runtime.certificate import GRAPHS

Precision = Literal["float32", "float16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BLOCK = 32  #: weights that share a scale and a zero point
HEAD = "logits"  #: output of the language model's head, which keeps 8 bits
MOST_IN_FILE = 2_000_000_000  #: bytes
LEAST_HALVED = 1024  #: values of a weight that is stored in 16 bits


def write_precision(raw: Path, folder: Path, precision: Precision) -> None:
    """Write the graphs of ``raw``, in float32, to ``folder`` in another precision, optimised for loading.

    Raises ModelError for a graph that is larger than an ONNX file can be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)  # a line for every node
    with tempfile.TemporaryDirectory() as temporary:
        for name in GRAPHS:
            source, target, lowered = raw / f"{name}.onnx", folder / f"{name}.onnx", Path(temporary) / f"{name}.onnx"
            if precision in ("int8", "int4") and name == "language":
                quantise_language(source, lowered, 4 if precision == "int4" else 8)
                source = lowered
            size = sum(part.stat().st_size for part in source.parent.glob(f"{source.name}*"))  # with its weights' file
            if size > MOST_IN_FILE:
                raise ModelError(
                    f"the {name} graph takes {size / 1e9:.1f} GB in {precision}, and an ONNX file holds 2 GB: "
                    "choose --precision int8 or int4"
                )
            optimise(source, target)
            if precision != "float32":
                onnx.save(halved(onnx.load(target)), target)


def optimise(source: Path, target: Path) -> None:
    """Fuse and fold what does not depend on the machine, so that less is done at every start."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights in float16; each is cast back when a session is opened."""
    blocks = {name for node in model.graph.node if node.op_type == "MatMulNBits" for name in node.input[1:]}
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight) if weight.data_type == onnx.TensorProto.FLOAT else None
        if values is None or values.size < LEAST_HALVED or weight.name in blocks:  # scales of blocks stay exact
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name, stored = weight.name, f"{weight.name}.half"
        weight.CopyFrom(numpy_helper.from_array(half, stored))
        model.graph.node.insert(
            0, onnx.helper.make_node("Cast", [stored], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT)
        )
    return model


def quantise_language(source: Path, target: Path, bits: int) -> None:
    """Store the weights of a language graph in blocks of 8 or 4 bits; the head keeps 8."""
    model = onnx.load(source)
    head = _producer(model.graph, HEAD)
    for width, excluded in ((bits, [head]), (8, [])) if bits != 8 else ((8, []),):
        config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=False, accuracy_level=4, bits=width)
        quantiser = MatMulNBitsQuantizer(model, algo_config=config, nodes_to_exclude=excluded)
        quantiser.process()
        model = quantiser.model.model
    onnx.save(model, target)


def _producer(graph: onnx.GraphProto, output: str) -> str:
    """Return the name of the last product before ``output``."""
    nodes = {name: node for node in graph.node for name in node.output}
    node = nodes[output]
    while node.op_type != "MatMul":
        node = next(nodes[name] for name in node.input if name in nodes)
    return str(node.name)
