"""Layered clips for training: folders, composed and coarse sets, the latent cache."""
