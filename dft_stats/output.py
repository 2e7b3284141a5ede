"""What commands print for other programs."""

import json
from typing import Any


def print_json(value: Any) -> int:
    """Print JSON on stdout; return the status of a command that went well."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1))
    return 0
