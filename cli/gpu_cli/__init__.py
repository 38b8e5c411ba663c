"""`gpu`: an open model on a rented GPU in one command, and never a bill left behind."""

import sys

__version__ = "0.1.0"

# httpx does without its command line and without HTTP/2 where they cannot be imported. We use neither, and with what
# they bring along (click, pygments, rich; h2) its import takes almost twice as long.
for _unused in ("httpx._main", "httpcore._sync.http2", "httpcore._async.http2"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]
