"""Export of students to ONNX graphs, their quantisation, and the certificate without which none is loaded."""
