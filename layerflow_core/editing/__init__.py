"""Layers changed by hand: put together, moved, retimed, their edges refined."""
