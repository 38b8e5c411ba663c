"""What Lambda's instance types come to as offers: by region, at the price of the whole machine."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import client_at, filesystem, instance_type
from scripted_server import ScriptedServer, said

from gpu_providers.base import Kind, Offer, Search
from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import GPUS
from gpu_providers.lambda_cloud.offers import offers, why_none
from gpu_providers.lambda_cloud.options import parse_options

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPECS = {"vcpus": 26, "memory_gib": 225, "storage_gib": 512, "gpus": 1}
EIGHT = instance_type("gpu_8x_h100_sxm5", "8x H100 (80 GB SXM5)", price_cents_per_hour=3192)
CPU = {
    "instance_type": {
        "name": "cpu_4x_general",
        "description": "4x CPU General",
        "gpu_description": "N/A",
        "price_cents_per_hour": 20,
        "specs": {"vcpus": 4, "memory_gib": 16, "storage_gib": 100, "gpus": 0},
    },
    "regions_with_capacity_available": [{"name": "us-east-1", "description": "Virginia, USA"}],
}


class Lambda:
    """A Lambda that has these instance types; its filesystems, where it is asked for them, come first."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.server = server
        self.client = client_at(server.url, folder)

    def offers(self, *types: dict[str, Any], search: Search | None = None) -> list[Offer]:
        search = search or Search()
        if search.kind in (None, Kind.VM):
            self.server.replies.append(said({"data": {one["instance_type"]["name"]: one for one in types}}))
        return offers(self.client, search, parse_options(search.options), NOW)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Lambda]:
    with ScriptedServer() as server:
        yield Lambda(tmp_path, server)


def test_an_offer_carries_what_its_launch_and_its_rank_need(cloud: Lambda) -> None:
    (offer,) = cloud.offers(instance_type())
    assert offer.offer_id == "lambda-gpu_1x_h100_sxm5@us-east-1"
    assert (offer.provider, offer.kind, offer.gpu, offer.gpu_count) == ("lambda", Kind.VM, "H100", 1)
    assert offer.gpu_memory_gib == GPUS["H100"].memory_gib
    assert (offer.region, offer.interruptible, offer.prices_as_of) == ("us-east-1", False, NOW)


def test_the_price_is_that_of_all_gpus_together(cloud: Lambda) -> None:
    (offer,) = cloud.offers(EIGHT)
    assert (offer.gpu_count, offer.price_usd_per_hour) == (8, 31.92)
    assert offer.price_parts == {"machine": 31.92}
    assert (offer.disk_usd_per_gib_hour, offer.traffic_usd_per_gib) == (0, 0)


@pytest.mark.parametrize(("cents", "usd"), [(69, 0.69), (229, 2.29), (1592, 15.92), (100, 1.0)])
def test_a_price_is_what_its_cents_are(cloud: Lambda, cents: int, usd: float) -> None:
    (offer,) = cloud.offers(instance_type(price_cents_per_hour=cents))
    assert (offer.price_usd_per_hour, sum(offer.price_parts.values())) == (usd, usd)


def test_each_region_that_has_one_free_is_an_offer_of_its_own(cloud: Lambda) -> None:
    found = cloud.offers(instance_type(regions=["us-east-1", "us-west-2", "us-east-1"]), EIGHT)
    assert [offer.offer_id for offer in found] == [
        "lambda-gpu_1x_h100_sxm5@us-east-1",
        "lambda-gpu_1x_h100_sxm5@us-west-2",
        "lambda-gpu_8x_h100_sxm5@us-east-1",
    ]


def test_a_type_in_a_region_is_told_from_others_so_that_it_can_be_left_alone(cloud: Lambda) -> None:
    found = cloud.offers(instance_type(regions=["us-south-2", "us-south-3"]), EIGHT)
    assert len({offer.host for offer in found}) == 3


def test_a_type_that_nowhere_has_one_free_is_no_offer(cloud: Lambda) -> None:
    assert cloud.offers(instance_type(regions=[])) == []


def test_a_machine_without_gpus_is_no_offer(cloud: Lambda) -> None:
    assert [offer.gpu for offer in cloud.offers(CPU, instance_type())] == ["H100"]


@pytest.mark.parametrize("cents", [0, -1, "free", float("inf"), None])
def test_a_type_without_a_price_is_no_offer(cloud: Lambda, cents: object) -> None:
    assert cloud.offers(instance_type(price_cents_per_hour=cents)) == []


def test_a_type_whose_description_counts_other_gpus_than_its_specs_is_no_offer(cloud: Lambda) -> None:
    assert cloud.offers(instance_type(specs={**SPECS, "gpus": 2})) == []


def test_a_machine_whose_disk_is_too_small_is_no_offer(cloud: Lambda) -> None:
    assert cloud.offers(instance_type(specs=SPECS), search=Search(disk_gib=513)) == []
    assert len(cloud.offers(instance_type(specs=SPECS), search=Search(disk_gib=512))) == 1


@pytest.mark.parametrize("specs", [None, {}, {"gpus": "one", "storage_gib": "2.8 TB"}], ids=["none", "empty", "text"])
def test_specs_that_are_not_told_rule_nothing_out(cloud: Lambda, specs: object) -> None:
    assert len(cloud.offers(instance_type(specs=specs), search=Search(disk_gib=100))) == 1


def test_fields_and_regions_that_nobody_knows_yet_do_no_harm(cloud: Lambda) -> None:
    new = instance_type(regions=["mars-north-1"], architecture="x86_64", spot_price_cents_per_hour=1)
    new["regions_with_capacity_available"] += [{"description": "nameless"}, "us-east-1", None]
    assert [offer.region for offer in cloud.offers(new)] == ["mars-north-1"]


def test_only_the_regions_of_the_recipe_will_do(cloud: Lambda) -> None:
    search = Search(options={"regions": ["us-west-2"]})
    (offer,) = cloud.offers(instance_type(regions=["us-east-1", "us-west-2"]), EIGHT, search=search)
    assert offer.region == "us-west-2"


@pytest.mark.parametrize("wanted", ["weights", "398578a2336b49079e74043f0bd2cfe8"], ids=["name", "id"])
def test_only_the_region_of_the_filesystem_will_do(cloud: Lambda, wanted: str) -> None:
    cloud.server.replies.append(said({"data": [filesystem()]}))
    (offer,) = cloud.offers(instance_type(regions=["us-east-1", "us-east-3"]), search=Search(volume=wanted))
    assert offer.region == "us-east-3"


def test_a_filesystem_that_is_not_there_is_the_recipes_fault(cloud: Lambda) -> None:
    cloud.server.replies.append(said({"data": [filesystem(name="other")]}))
    with pytest.raises(InvalidRequest, match="no filesystem 'weights'"):
        offers(cloud.client, Search(volume="weights"), parse_options({}), NOW)


def test_what_the_emulated_cloud_has_free_is_what_is_offered(tmp_path: Path) -> None:
    stock = {"gpu_1x_gh200": (), "gpu_8x_b200_sxm6": ("us-east-1", "us-west-3")}
    with LambdaEmulator(engine="none", stock=stock) as cloud:
        environ = cloud.env
        client = client_at(environ["GPU_LAMBDA_API_URL"], tmp_path, environ["LAMBDA_API_KEY"])
        found = offers(client, Search(), parse_options({}), NOW)
    assert {(offer.region, offer.price_usd_per_hour) for offer in found if offer.gpu == "B200"} == {
        ("us-east-1", 53.52),
        ("us-west-3", 53.52),
    }
    assert "GH200" not in {offer.gpu for offer in found}


@pytest.mark.parametrize("kind", [Kind.POD, Kind.SERVERLESS])
def test_for_another_kind_lambda_is_not_even_asked(cloud: Lambda, kind: Kind) -> None:
    assert cloud.offers(instance_type(), search=Search(kind=kind)) == []
    assert cloud.server.asked == []
    assert why_none(Search(kind=kind)) == f"Lambda rents out virtual machines, no {kind}"


def test_what_is_to_be_public_is_not_offered_where_there_is_no_firewall(cloud: Lambda) -> None:
    everywhere = instance_type(regions=("us-south-1", "us-south-2"))
    assert [offer.region for offer in cloud.offers(everywhere)] == ["us-south-1", "us-south-2"]
    assert [offer.region for offer in cloud.offers(everywhere, search=Search(public=True))] == ["us-south-2"]
    assert why_none(Search(public=True)) == "Lambda has no GPU free outside us-south-1, which has no firewall"


def test_who_finds_nothing_reads_what_was_looked_for() -> None:
    assert why_none(Search()) == "Lambda has no GPU free"
    search = Search(options={"regions": ["us-east-1", "us-east-3"]}, volume="weights", disk_gib=200)
    assert why_none(search) == (
        "Lambda has no GPU free in us-east-1 or us-east-3, where the filesystem weights is, with 200 GiB of disk"
    )
