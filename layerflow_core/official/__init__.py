"""The released checkpoints: their keys, their variants, how they become ours, and their recorded outputs."""
