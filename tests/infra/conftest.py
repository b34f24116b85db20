from __future__ import annotations

import os

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20,22")

from conftest_infra import aws, everything_on, local

__all__ = ["aws", "everything_on", "local"]
