"""Networks as whole ONNX graphs: raw bands in, logit out."""
