"""Who sees what clients ask of a cloud, and when it takes effect."""

from collections.abc import Callable


class Witness:
    """Sees every request but those to `/_emulator`, without the cloud's lock."""

    def sees(self, call: str, client: int) -> Callable[[], None]:  # noqa: ARG002 - this one looks away
        """Nothing of it has taken effect yet. What is returned is called once it has, before the answer leaves.

        `call` is method and route, with what the route leaves open to others to answer; `client` is the port that it
        came from. Both this and what is returned may raise Reset, which keeps the client from an answer.
        """
        return lambda: None
