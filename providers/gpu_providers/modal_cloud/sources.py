"""What of this machine goes to Modal with an app: one file of ours, and nothing of the user's."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_VARIABLE = "GIT_DIR"
_lock = threading.Lock()
_inside = 0
_before: str | None = None


def loaded(path: Path) -> ModuleType:
    """As a module of no package, where the SDK looks for it: it uploads that one file, and imports it by this name.

    Nothing is left beside the file, as an import would leave it.
    """
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules[path.stem] = module
    exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102 - our own file
    return module


@contextmanager
def outside_of_git() -> Iterator[None]:
    """A deploy would send the remote, the branch and the last commit's author of whatever repository this process is
    in: the client asks `git`, and has no setting against it (modal/_utils/git_utils.py, 1.6.4). Within the block git
    finds no repository. Blocks of several threads may overlap.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = os.environ.get(_VARIABLE)
            os.environ[_VARIABLE] = os.devnull
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _restore(_before)


def _restore(before: str | None) -> None:
    os.environ.pop(_VARIABLE, None)
    if before is not None:
        os.environ[_VARIABLE] = before
