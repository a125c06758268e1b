"""Encoder backends: each opens the ONNX graph of one fold of a bundle and turns raw patches into logits."""
