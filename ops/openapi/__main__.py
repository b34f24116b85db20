"""Write docs/openapi.json."""

from __future__ import annotations

from pathlib import Path

from ops.openapi.document import document, text

TARGET = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"

if __name__ == "__main__":
    TARGET.write_text(text(document()))
