"""Lambda's account: who may call, and how often.

What the sources say, and this does:
- One kind of key, which may do everything (docs.lambda.ai, "Access and security"); a missing one and a wrong one are
  the same 401 (Lambda's OpenAPI file).
- About one request a second, and one launch in twelve, for the whole account (the introduction of that file). Requests
  that are refused for that do not count here, and a tenth of the time is forgiven, because requests arrive unevenly.
- Cloudflare stands in front and bans Python's own User-Agent with a web page, error 1010 (reports of clients). Here it
  bans those of all Python libraries, and requests without one, although some of them have been seen to pass.
"""

import re
from typing import TYPE_CHECKING

from ..server import Request, Response
from ..spoiling import edge_block
from .answers import refused_by_status

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

BOTS = re.compile(r"(python-.*)?", re.IGNORECASE)
LAUNCH = "/api/v1/instance-operations/launch"
REQUEST_EVERY_S, LAUNCH_EVERY_S = 1.0, 12.0
FORGIVEN = 0.1


class Account:
    """The account of the emulated cloud. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud
        self._requested_at = self._launched_at = 0.0

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request to the API, or None."""
        if BOTS.fullmatch(request.headers.get("user-agent", "")):
            return edge_block()
        if request.bearer != self._cloud.key:
            return refused_by_status(401, "API key was invalid, expired, or deleted.")
        if self._cloud.limits and self._is_too_early(request):
            return refused_by_status(429, "Too many requests.")
        return None

    def _is_too_early(self, request: Request) -> bool:
        now, is_launch = self._cloud.clock.now(), request.path == LAUNCH
        too_early = now - self._requested_at < REQUEST_EVERY_S * (1 - FORGIVEN)
        if too_early or (is_launch and now - self._launched_at < LAUNCH_EVERY_S * (1 - FORGIVEN)):
            return True
        self._requested_at = now
        self._launched_at = now if is_launch else self._launched_at
        return False
