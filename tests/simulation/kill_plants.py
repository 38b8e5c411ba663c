"""Bugs to be planted into the program, to see that killing it finds them. The program itself knows nothing of them."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from gpu_providers.errors import ProviderError


def _drop_the_intent() -> None:
    """There is no row on record while the cloud is asked to make what it stands for."""
    from gpu_cli.fleet.launch import launch

    create = launch.create

    def without_intent(fleet: Any, provider: Any, request: Any) -> Any:
        with closing(sqlite3.connect(fleet.store.path)) as connection, connection:
            of_it = "FROM deployments WHERE resource_name = ?"
            row = connection.execute(f"SELECT * {of_it}", [request.name]).fetchone()
            connection.execute(f"DELETE {of_it}", [request.name])
        made = create(fleet, provider, request)
        with closing(sqlite3.connect(fleet.store.path)) as connection, connection:
            connection.execute(f"INSERT INTO deployments VALUES ({', '.join('?' * len(row))})", row)
        return made

    launch.create = without_intent


def _believe_errors() -> None:
    """A cloud that answers a request to destroy with an error has destroyed."""
    from gpu_cli.fleet.end import teardown

    def has_ended(provider: Any, resource_id: str, *_: Any, **__: Any) -> bool:
        try:
            provider.terminate(resource_id)
        except ProviderError:
            return True
        return True

    teardown._has_ended = has_ended


def _skip_the_search() -> None:
    """What was made, and whose id never came, is not looked for by its name."""
    from gpu_cli.fleet.end import teardown

    teardown._another = lambda *_: None


PLANTS: Mapping[str, Callable[[], None]] = {
    "": lambda: None,
    "no-intent": _drop_the_intent,
    "errors-are-gone": _believe_errors,
    "no-search": _skip_the_search,
}


def plant(name: str) -> None:
    """Has this process have the bug of that name; none where it is empty."""
    PLANTS[name]()
