"""A trained network for others: as one ONNX file, or as a small checkpoint."""
