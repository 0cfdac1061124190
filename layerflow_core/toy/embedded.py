"""The small model that ships with the package."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = Path(__file__).with_name("embedded.safetensors")
EMBEDDED_NAME = "embedded (procedural world)"
