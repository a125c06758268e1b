"""The training of networks: loss, order, augmentation, steps, resume, devices."""
