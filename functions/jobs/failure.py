"""What a state machine caught, in a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MAX_REASON = 300


def reason_of(error: Mapping[str, Any]) -> str:
    """Say what failed; the cause of a function's failure is JSON with a stack trace."""
    name, cause = str(error.get("Error", "unknown")), str(error.get("Cause", ""))
    try:
        detail = json.loads(cause)
    except ValueError:
        detail = None
    if isinstance(detail, dict) and "errorType" in detail:
        name, cause = str(detail["errorType"]), str(detail.get("errorMessage", ""))
    return f"{name}: {cause}"[:_MAX_REASON] if cause else name[:_MAX_REASON]
