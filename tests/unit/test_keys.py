from pathlib import Path

from gpu_cli.fleet.keys import Keys


def test_a_key_is_kept_in_a_private_file_and_read_back(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "state" / "keys")
    made = keys.create("gpu-tiny-1")
    assert keys.read("gpu-tiny-1") == made
    assert (tmp_path / "state" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "keys" / "gpu-tiny-1").stat().st_mode & 0o777 == 0o600


def test_every_key_is_new_long_and_masked_in_text(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    made = [keys.create(f"gpu-{number}-1") for number in range(50)]
    values = {key.reveal() for key in made}
    assert len(values) == 50
    assert all(len(value) > 40 for value in values)
    assert not any(value in f"{key} {key!r}" for key in made for value in values)


def test_an_unknown_key_is_none_and_forgetting_it_is_no_error(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    assert keys.read("gpu-tiny-1") is None
    keys.forget("gpu-tiny-1")
    assert keys.resource_names() == set()


def test_what_keys_are_of_can_be_told(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    for name in ("gpu-one-1", "gpu-two-1"):
        keys.create(name)
    keys.forget("gpu-one-1")
    assert keys.resource_names() == {"gpu-two-1"}
