"""Writing a file in one step."""

from pathlib import Path

import pytest

from gpu_cli.errors import UserError
from gpu_cli.write_file import write_text


def test_a_file_is_replaced_in_one_step_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f.yaml"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link_to_the_file_that_is_written(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    link.symlink_to(real)
    write_text(link, "text")
    assert link.is_symlink()
    assert real.read_text() == "text"


def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("one")
    path.chmod(0o640)
    write_text(path, "two")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match="cannot write") as caught:
        write_text(tmp_path / "folder.yaml", "text")
    assert caught.value.code == "cannot-write"
    assert [file.name for file in tmp_path.iterdir()] == ["folder.yaml"]
