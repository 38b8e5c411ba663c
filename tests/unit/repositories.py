"""A repository of git's for tests in which somebody has committed."""

import subprocess
from pathlib import Path

import pytest


def commit_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test goes on in there."""
    monkeypatch.chdir(folder)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Someone")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "someone@example.com")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message=first"], check=True)
