"""What files carry beside their pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Values as files hold them: text as it is, all else as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
