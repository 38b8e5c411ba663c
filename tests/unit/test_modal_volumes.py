"""Volumes at Modal, as `gpu volume` has them."""

from collections.abc import Iterator

import modal
import pytest
from emulators.modal_cloud import ModalEmulator

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.volumes import Volumes


@pytest.fixture(scope="module")
def cloud() -> Iterator[ModalEmulator]:
    with ModalEmulator(environments=("main", "dev")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def session(cloud: ModalEmulator) -> Iterator[Session]:
    session = Session({**cloud.env, "HOME": "/nowhere"})
    yield session
    session.close()


@pytest.fixture
def volumes(session: Session) -> Iterator[Volumes]:
    """None is left for the next test."""
    volumes = Volumes(session)
    yield volumes
    for volume in volumes.all():
        volumes.delete(volume.volume_id)


def test_a_volume_grows_and_has_neither_region_nor_a_price_of_its_own(volumes: Volumes) -> None:
    made = volumes.create("weights")
    assert made == Volume("modal", made.volume_id, "weights", size_gb=0, region="", price_usd_per_month=None)
    assert made.volume_id.startswith("vo-")


def test_volumes_are_listed_by_name_whoever_made_them(volumes: Volumes, session: Session) -> None:
    made = volumes.create("weights")
    with session.call("make a volume") as client:
        modal.Volume.objects.create("datasets", client=client)
    assert [volume.name for volume in volumes.all()] == ["datasets", "weights"]
    assert made in volumes.all()


def test_a_name_that_is_taken_is_refused(volumes: Volumes) -> None:
    volumes.create("weights")
    with pytest.raises(InvalidRequest, match="there is a volume 'weights' already"):
        volumes.create("weights")


def test_a_name_that_cannot_be_one_is_refused(volumes: Volumes) -> None:
    with pytest.raises(InvalidRequest):
        volumes.create("no spaces")


def test_a_volume_is_deleted_by_its_id_and_deleting_it_again_is_success(volumes: Volumes) -> None:
    kept, deleted = volumes.create("kept"), volumes.create("deleted")
    volumes.delete(deleted.volume_id)
    assert volumes.all() == [kept]
    volumes.delete(deleted.volume_id)
    assert volumes.all() == [kept]


def test_volumes_are_those_of_the_configured_environment(cloud: ModalEmulator, volumes: Volumes) -> None:
    volumes.create("weights")
    dev = Session({**cloud.env, "HOME": "/nowhere", "MODAL_ENVIRONMENT": "dev"})
    assert Volumes(dev).all() == []
    made = Volumes(dev).create("weights")
    assert made not in volumes.all()
    Volumes(dev).delete(made.volume_id)
    assert len(volumes.all()) == 1
    dev.close()
