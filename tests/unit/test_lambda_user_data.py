"""What cloud-init is told on a new machine at Lambda: its host key, and to leave apt alone."""

import subprocess
from pathlib import Path

import yaml

from gpu_providers.lambda_cloud.user_data import new_host_key, user_data


def test_the_host_key_arrives_as_cloud_init_takes_it(tmp_path: Path) -> None:
    host_key = new_host_key()
    text = user_data(host_key)
    keys = yaml.safe_load(text)["ssh_keys"]
    file = tmp_path / "ssh_host_ed25519_key"
    file.write_text(keys["ed25519_private"])
    file.chmod(0o600)
    derived = subprocess.run(["ssh-keygen", "-y", "-f", file], capture_output=True, text=True, check=True)
    assert text.startswith("#cloud-config\n")
    assert derived.stdout.split() == keys["ed25519_public"].split() == host_key.public.split()


def test_every_machine_has_a_host_key_of_its_own() -> None:
    assert new_host_key().public != new_host_key().public


def test_automatic_upgrades_are_off() -> None:
    (file,) = yaml.safe_load(user_data(new_host_key()))["write_files"]
    assert file == {"path": "/etc/apt/apt.conf.d/99-gpu-cli", "content": 'APT::Periodic::Enable "0";\n'}


def test_the_private_half_shows_up_in_no_text() -> None:
    host_key = new_host_key()
    assert host_key.private.reveal() not in repr(host_key)
