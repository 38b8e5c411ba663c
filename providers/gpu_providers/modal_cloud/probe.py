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


@dataclass(frozen=True)
class Probe:
    """A request to an endpoint that is just published. It starts the first container, unless the edge refuses it."""

    answer_s: float = 10.0
    """How long it waits: a refusal comes from the edge, at once."""
    pauses_s: tuple[float, ...] = (1.0, 2.0)
    """Before a refused one is sent again: the edge may hear of a new token late; a prior."""

    def is_refused(self, url: str, token: Secret) -> bool:
        """Whether it is, every time. One that is not answered is not refused: it may wait for its container."""
        for pause_s in self.pauses_s:
            if not self._refused(url, token):
                return False
            time.sleep(pause_s)
        return self._refused(url, token)

    def _refused(self, url: str, token: Secret) -> bool:
        with suppress(ProviderUnavailable, TooManyRequests):
            return Http().once(Request("GET", f"{url}/health", key=token), call_s=self.answer_s).status in _REFUSALS
        return False
