"""Frames and video files."""
