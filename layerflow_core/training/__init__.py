"""Training of real checkpoints and of the embedded one: stages, data, trainer (paper section 3.2)."""
