"""CUDA devices behind one small seam: memory, pinned buffers, streams, events and captured graphs."""
