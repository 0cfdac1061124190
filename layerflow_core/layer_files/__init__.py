"""Sets of layers on disk."""
