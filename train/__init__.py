"""From labelled patches or a feature table to a run folder: forests, out-of-fold predictions, calibration, metrics."""
