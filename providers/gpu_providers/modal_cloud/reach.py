"""Whether anything answers where Modal is: its own client takes a minute to say that nothing does."""

import importlib.util
import socket
import time
from contextlib import closing
from urllib.parse import SplitResult, urlsplit

from gpu_providers.errors import InvalidRequest, ProviderUnavailable

CONNECT_S = 5.0
"""For all servers together."""
BELIEVED_S = 60.0
"""What has answered is not tried again for so long."""
_PORTS = {"http": 80, "https": 443}


class Reach:
    """Remembers when something has answered. Safe to share among threads: at worst it is tried twice."""

    def __init__(self) -> None:
        self._answered_at = -BELIEVED_S

    def check(self, server_urls: str, *, direct: bool) -> None:
        """Whether one of these, separated by commas, takes connections; or what stands before them, unless `direct`.

        Raises ProviderUnavailable when none does, InvalidRequest for what are no URLs.
        """
        if time.monotonic() - self._answered_at < BELIEVED_S:
            return
        servers = [_server(url.strip()) for url in server_urls.split(",")]
        targets = servers if direct else [_before(server) for server in servers]
        if not any(_answers(target, CONNECT_S / len(targets)) for target in targets):
            where = ", ".join(f"{target.hostname}:{_port(target)}" for target in targets)
            raise ProviderUnavailable(f"Modal does not answer ({where})", hint="check the network, and try again")
        self._answered_at = time.monotonic()


def _server(url: str) -> SplitResult:
    hint = "set MODAL_SERVER_URL to what Modal says, or unset it"
    try:
        server = urlsplit(url)
        valid = server.scheme in _PORTS and server.hostname and _port(server)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest("MODAL_SERVER_URL is not the URL of a server", hint=hint)
    return server


def _before(server: SplitResult) -> SplitResult:
    """The proxy on the way there, found as Modal's client does (modal/_utils/proxy_support.py, 1.6.4); else itself."""
    import urllib.request  # slow to import

    if urllib.request.proxy_bypass(server.hostname or ""):
        return server
    proxies = urllib.request.getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if not proxy:
        return server
    if not importlib.util.find_spec("python_socks"):
        hint = "pip install 'modal[api-proxy-support]', or set MODAL_DISABLE_API_PROXY=1"
        raise ProviderUnavailable("a proxy is set, and Modal's client has nothing to speak to it with", hint=hint)
    return urlsplit(proxy)


def _answers(server: SplitResult, patience_s: float) -> bool:
    try:
        with closing(socket.create_connection((server.hostname or "", _port(server)), patience_s)):
            return True
    except (OSError, UnicodeError):  # the latter of a name that can be none
        return False


def _port(server: SplitResult) -> int:
    return server.port or _PORTS.get(server.scheme, 1080)
