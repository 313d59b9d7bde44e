"""Say which Python this is, as JSON."""

from __future__ import annotations

import json
import sys
from importlib.util import MAGIC_NUMBER

print(
    json.dumps(
        {
            "version": " ".join(sys.version.split()),
            "tag": sys.implementation.cache_tag,
            "magic": MAGIC_NUMBER.hex(),
        }
    )
)
