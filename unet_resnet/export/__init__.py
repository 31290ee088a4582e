"""The network leaves Python, as one ONNX file."""
