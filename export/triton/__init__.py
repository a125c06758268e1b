"""A model repository of the Triton Inference Server, made from a bundle."""
