"""From a training run to a bundle: Treelite import, canonical forests, compiled C, golden patches, certificate."""
