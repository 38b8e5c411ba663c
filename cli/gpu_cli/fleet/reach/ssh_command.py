"""The system's `ssh`, told everything: which key, and which host key alone will do."""

from collections.abc import Sequence
from pathlib import Path

from gpu_providers.base import SshLogin

SSH = "ssh"
CONNECT_TIMEOUT_S = 10


def ssh_command(login: SshLogin, *more: str, remote: Sequence[str] = ()) -> list[str]:
    """Log in as `login` says, by no other key, agent or configuration file.

    Nothing is sent before the machine has shown its host key, and no password is ever asked for. `more` are settings of
    ssh_config(5), `Name=value`; `remote` is for the machine's shell to read.
    """
    settings = (
        f"IdentityFile={_literally(login.identity)}",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={_literally(login.known_hosts)}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={login.alias}",
        "HashKnownHosts=no",
        "UpdateHostKeys=no",
        f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        *more,
    )
    told = [part for setting in settings for part in ("-o", setting)]
    return [SSH, "-F", "none", *told, "-p", str(login.port), "-l", login.user, "--", login.host, *remote]


def _literally(path: Path) -> str:
    """One path for a configuration, where spaces separate and `%` begins a name."""
    return '"{}"'.format(str(path).replace("%", "%%"))
