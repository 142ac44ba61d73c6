"""Inference on ONNX Runtime, without torch."""
