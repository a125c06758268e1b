"""TensorRT plans from ONNX graphs: built in a child process, inspected, kept as a local cache."""
