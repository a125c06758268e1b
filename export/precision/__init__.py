"""From an FP32 graph to the same graph at FP16, BF16 or INT8, with a plan that says what stayed FP32 and why."""
