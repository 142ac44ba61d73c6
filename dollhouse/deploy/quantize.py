"""Lower the precision of exported graphs with ONNX Runtime's quantisers, and optimise them.

The encoder's products run in int8 with scales measured at run time; its convolutions stay in float32, which ONNX
Runtime computes faster. Weights of the language model are stored in blocks of 8 or 4 bits.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Literal, get_args

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from dollhouse.runtime.certificate import GRAPHS

Precision = Literal["float32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BLOCK = 32  #: weights that share a scale
HEAD = "logits"  #: output of the language model's head, which keeps 8 bits


def write_precision(raw: Path, folder: Path, precision: Precision) -> None:
    """Write the graphs of ``raw``, in float32, to ``folder`` in another precision, optimised for loading."""
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)  # a line for every node
    with tempfile.TemporaryDirectory() as temporary:
        for name in GRAPHS:
            source, lowered = raw / f"{name}.onnx", Path(temporary) / f"{name}.onnx"
            if precision == "float32":
                lowered = source
            elif name == "language":
                _quantise_language(source, lowered, 4 if precision == "int4" else 8)
            else:
                _quantise_dynamic(source, lowered)
            optimise(lowered, folder / f"{name}.onnx")


def optimise(source: Path, target: Path) -> None:
    """Fuse and fold what does not depend on the machine, so that less is done at every start."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _quantise_dynamic(source: Path, target: Path) -> None:
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def _quantise_language(source: Path, target: Path, bits: int) -> None:
    model = onnx.load(source)
    head = _producer(model.graph, HEAD)
    for width, excluded in ((bits, [head]), (8, [])) if bits != 8 else ((8, []),):
        config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=width)
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
