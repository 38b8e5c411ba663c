"""Whether Modal's edge takes a proxy token for a bearer token, which is all that clients of OpenAI's API send.

That it does is documented for Servers (modal.com/docs, guide/servers). For web Functions the documentation knows two
headers of Modal's own (guide/webhook-proxy-auth), and others have been seen to send a bearer token. So it is asked.
"""

import time
from contextlib import suppress
from dataclasses import dataclass

from gpu_providers.base import Secret
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.http import Http, Request, TooManyRequests

_REFUSALS = (401, 403)
_NOT_KNOWN_YET = 404
"""What the edge says of an app that it has not heard of."""


@dataclass(frozen=True)
class Probe:
    """A request to an endpoint that is just published. It starts the first container, unless the edge refuses it."""

    answer_s: float = 3.0
    """How long it waits: a refusal comes from the edge, at once."""
    pauses_s: tuple[float, ...] = (1.0, 2.0)
    """Before it is sent again: the edge may hear late of a new token, and of a new app; a prior."""

    def is_refused(self, url: str, token: Secret) -> bool:
        """Whether it is, to the last. One that is not answered is not refused: it may wait for its container."""
        for pause_s in self.pauses_s:
            if self._status(url, token) not in (*_REFUSALS, _NOT_KNOWN_YET):
                return False
            time.sleep(pause_s)
        return self._status(url, token) in _REFUSALS

    def _status(self, url: str, token: Secret) -> int | None:
        """None without an answer."""
        with suppress(ProviderUnavailable, TooManyRequests):
            return Http().once(Request("GET", f"{url}/health", key=token), call_s=self.answer_s).status
        return None
