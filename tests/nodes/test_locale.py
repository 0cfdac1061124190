"""The English locale says what the nodes say."""

import json
from pathlib import Path

from tests.nodes.export_locale import locale_of

LOCALE = Path(__file__).parents[2] / "locales" / "en" / "nodeDefs.json"


def test_locale(pack, request):
    if request.config.getoption("--write-locale"):
        LOCALE.parent.mkdir(parents=True, exist_ok=True)
        LOCALE.write_text(json.dumps(locale_of(pack), indent=1, ensure_ascii=False) + "\n")
    assert json.loads(LOCALE.read_text()) == locale_of(pack), (
        "run: pytest tests/nodes/test_locale.py --write-locale"
    )
