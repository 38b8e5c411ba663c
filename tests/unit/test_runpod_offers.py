"""What RunPod's catalogue comes to as offers: only what is in stock, at the price of the whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulators.runpod import RunPodEmulator
from emulators.server import Request, Server, json_response
from runpod_account import H100, RTX_4090, offer_of, provider_at

from gpu_providers.base import Kind, Offer, ProviderContext, Search
from gpu_providers.errors import AuthError, InvalidRequest
from gpu_providers.gpus import GPUS
from gpu_providers.runpod.provider import RunPodProvider

HOURS_A_MONTH = 730


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as emulator:
        yield emulator


@pytest.fixture
def provider(cloud: RunPodEmulator, tmp_path: Path) -> RunPodProvider:
    return provider_at(cloud, tmp_path)


def asked(cloud: RunPodEmulator) -> list[Mapping[str, str]]:
    """What the catalogue was asked for so far."""
    return [request.query for request in cloud.requests if request.path == "/v2/catalog/gpus"]


Catalogue = Callable[[Sequence[Mapping[str, Any]]], RunPodProvider]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """A RunPod whose catalogue holds these cards whatever it is asked for."""
    servers: list[Server] = []

    def serve(cards: Sequence[Mapping[str, Any]]) -> RunPodProvider:
        def answer(request: Request) -> Any:
            return json_response({"gpus": cards})

        server = Server(answer)
        servers.append(server)
        server.start()
        environ = {"RUNPOD_API_KEY": "rpa_TEST", "GPU_RUNPOD_API_URL": f"{server.url}/v2"}
        return RunPodProvider(ProviderContext(tmp_path, environ))

    yield serve
    for server in servers:
        server.stop()


def card(**changes: Any) -> dict[str, Any]:
    """A card as RunPod describes it."""
    return {
        "id": RTX_4090,
        "memory": 24,
        "price": {"secure": 0.74, "community": 0.34},
        "maxCount": {"secure": 1, "community": 1},
        "availability": "HIGH",
        "dataCenters": [{"id": "EU-RO-1", "name": "Romania", "availability": "HIGH"}],
        **changes,
    }


# What is on offer


def test_an_offer_is_dated_now_and_carries_what_its_launch_needs(provider: RunPodProvider) -> None:
    offer = offer_of(provider, H100, count=2)
    assert offer.offer_id == "runpod-secure-2xNVIDIA H100 80GB HBM3"
    assert (offer.provider, offer.kind, offer.gpu, offer.gpu_count) == ("runpod", Kind.POD, "H100", 2)
    assert offer.gpu_memory_gib == GPUS["H100"].memory_gib
    assert abs(offer.prices_as_of - datetime.now(UTC)) < timedelta(minutes=1)
    assert offer.traffic_usd_per_gib == 0


def test_the_price_is_that_of_one_gpu_times_their_number(provider: RunPodProvider) -> None:
    one, two = offer_of(provider, H100), offer_of(provider, H100, count=2)
    assert one.price_parts["gpu"] == pytest.approx(2.79)
    assert two.price_parts["gpu"] == pytest.approx(2 * 2.79)


def test_the_disk_belongs_to_the_price_once_it_is_known(provider: RunPodProvider) -> None:
    offer = offer_of(provider, H100, disk_gib=100)
    gb = 108  # 100 GiB are 107.4 GB
    assert offer.price_parts == {"gpu": pytest.approx(2.79), "disk": pytest.approx(gb * 0.10 / HOURS_A_MONTH)}
    assert offer.price_usd_per_hour == pytest.approx(sum(offer.price_parts.values()))
    assert offer.disk_usd_per_gib_hour == 0


def test_as_long_as_the_disk_is_not_known_its_rate_is_told(provider: RunPodProvider) -> None:
    offer = offer_of(provider, H100)
    assert offer.price_parts["disk"] == 0
    assert offer.disk_usd_per_gib_hour == pytest.approx(0.10 * 1.073741824 / HOURS_A_MONTH)


def test_the_recipes_disk_decides_its_price(provider: RunPodProvider) -> None:
    offer = offer_of(provider, H100, disk_gib=100, options={"disk_gb": 500})
    assert offer.price_parts["disk"] == pytest.approx(500 * 0.10 / HOURS_A_MONTH)


def test_the_region_is_where_there_is_stock(provider: RunPodProvider) -> None:
    assert offer_of(provider, H100).region == "EU-CZ-1, US-KS-2"


def test_a_price_without_stock_is_no_offer(provider: RunPodProvider) -> None:
    assert not [offer for offer in provider.offers(Search(options={"cloud": "any"})) if offer.gpu == "B200"]


def test_low_stock_is_offered_and_ranks_behind_its_equal(cloud: RunPodEmulator, tmp_path: Path) -> None:
    with RunPodEmulator(stock={H100: "HIGH", RTX_4090: "LOW"}) as other:
        provider = provider_at(other, tmp_path)
        low, high = offer_of(provider, RTX_4090), offer_of(provider, H100)
    assert low.boot_odds is not None
    assert high.boot_odds is not None
    assert 0 < low.boot_odds < high.boot_odds <= 1


def test_what_our_catalogue_of_gpus_lacks_is_not_offered(catalogue: Catalogue) -> None:
    offers = catalogue([card(), card(id="NVIDIA H999"), card(id="NVIDIA RTX PRO 6000 Blackwell MIG 1g.24gb")]).offers(
        Search()
    )
    assert [offer.gpu for offer in offers] == ["RTX-4090"]


def test_cards_of_amd_are_offered_for_the_planner_to_judge(provider: RunPodProvider) -> None:
    assert offer_of(provider, "AMD Instinct MI300X OAM").gpu == "MI300X"


# What is asked


def test_the_secure_cloud_alone_is_asked_unless_the_recipe_says_otherwise(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    provider.offers(Search())
    assert {query["cloud"] for query in asked(cloud)} == {"SECURE"}


def test_every_cloud_is_asked_for_itself_and_every_count_for_itself(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    provider.offers(Search(options={"cloud": "any"}))
    pairs = sorted((query["cloud"], int(query["count"])) for query in asked(cloud))
    assert pairs == [("COMMUNITY", 1), ("COMMUNITY", 2), ("COMMUNITY", 4)] + [("SECURE", n) for n in (1, 2, 4, 8)]
    assert {(query["include"], query["product"]) for query in asked(cloud)} == {("AVAILABILITY", "POD")}


def test_a_community_price_without_a_community_machine_is_no_offer(provider: RunPodProvider) -> None:
    offers = provider.offers(Search(options={"cloud": "community"}))
    assert offers
    assert not [offer for offer in offers if offer.gpu == "H100-NVL"]


def test_the_community_offer_has_the_communitys_price(provider: RunPodProvider) -> None:
    offer = offer_of(provider, RTX_4090, options={"cloud": "community"})
    assert offer.offer_id == f"runpod-community-1x{RTX_4090}"
    assert offer.price_parts["gpu"] == pytest.approx(0.34)


def test_no_count_is_offered_that_no_machine_has(catalogue: Catalogue) -> None:
    cards = [card(maxCount={"secure": 4, "community": 1}), card(id=H100, memory=80, maxCount={"secure": 1})]
    offers = catalogue(cards).offers(Search())
    assert sorted((offer.gpu, offer.gpu_count) for offer in offers) == [
        ("H100", 1),
        ("RTX-4090", 1),
        ("RTX-4090", 2),
        ("RTX-4090", 4),
    ]


def test_a_card_without_a_pool_is_no_offer_of_serverless(catalogue: Catalogue) -> None:
    cards = [card(price={"serverless": 1.1}, pool="ADA_24"), card(id=H100, memory=80, price={"serverless": 4.2})]
    offers = catalogue(cards).offers(Search(kind=Kind.SERVERLESS))
    assert sorted(offer.offer_id for offer in offers) == [f"runpod-serverless-{n}x{RTX_4090}" for n in (1, 2, 4, 8)]


def test_only_hosts_whose_driver_is_new_enough_are_asked_for(provider: RunPodProvider) -> None:
    old = "NVIDIA RTX A6000"
    assert offer_of(provider, old, min_cuda_version="12.8")
    newer = provider.offers(Search(min_cuda_version="13.0"))
    assert newer
    assert not [offer for offer in newer if offer.gpu == "RTX-A6000"]


def test_regions_restrict_both_the_offers_and_where_they_are(provider: RunPodProvider) -> None:
    offers = provider.offers(Search(options={"regions": ["EU-CZ-1"]}))
    assert offers
    assert {offer.region for offer in offers} == {"EU-CZ-1"}
    assert {offer.gpu for offer in offers} == {"H100"}


def test_a_volume_restricts_the_offers_to_where_it_is(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 100, "EU-RO-1")
    offers = provider.offers(Search(volume="weights", options={"cloud": "any"}))
    assert offers
    assert {offer.region for offer in offers} == {"EU-RO-1"}
    assert not [offer for offer in offers if offer.offer_id.startswith("runpod-community")]


def test_a_volume_cannot_go_with_the_community_cloud(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 100, "EU-RO-1")
    with pytest.raises(InvalidRequest, match="community"):
        provider.offers(Search(volume="weights", options={"cloud": "community"}))


def test_a_volume_outside_of_the_recipes_regions_is_refused(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 100, "EU-RO-1")
    with pytest.raises(InvalidRequest, match="EU-RO-1, which the recipe's regions leave out"):
        provider.offers(Search(volume="weights", options={"regions": ["US-KS-2"]}))


def test_pods_are_offered_when_no_kind_is_asked_for_and_no_vm_ever(provider: RunPodProvider) -> None:
    assert {offer.kind for offer in provider.offers(Search())} == {Kind.POD}
    assert list(provider.offers(Search(kind=Kind.VM))) == []
    assert provider.why_no_offers(Search(kind=Kind.VM)) == "RunPod rents out pods and serverless endpoints, no vm"


# What is answered


def first_of(offers: Sequence[Offer]) -> Offer:
    assert offers
    return offers[0]


def test_a_price_may_be_text(catalogue: Catalogue) -> None:
    offer = first_of(catalogue([card(price={"secure": "0.74", "community": "0.34"})]).offers(Search()))
    assert offer.price_usd_per_hour == pytest.approx(0.74)


@pytest.mark.parametrize(
    "changes",
    [
        {"price": {"secure": None}},
        {"price": {"secure": 0}},
        {"price": {"secure": -0.74}},
        {"price": {"secure": "free"}},
        {"price": None},
        {"availability": "NONE"},
        {"availability": None},
        {"availability": "PLENTY"},
        {"availability": "HIGH", "id": None},
        {"memory": 48},
    ],
)
def test_a_card_without_a_price_a_stock_or_a_name_that_can_be_believed_is_no_offer(
    catalogue: Catalogue, changes: dict[str, Any]
) -> None:
    assert catalogue([card(**changes)]).offers(Search()) == []


@pytest.mark.parametrize(
    "changes",
    [{"dataCenters": None}, {"maxCount": None}, {"memory": None}, {"memory": "24"}, {"availability": "High"}],
)
def test_a_card_is_offered_without_what_is_optional(catalogue: Catalogue, changes: dict[str, Any]) -> None:
    assert first_of(catalogue([card(**changes)]).offers(Search())).gpu == "RTX-4090"


def test_a_data_center_whose_stock_nobody_understands_is_left_out(catalogue: Catalogue) -> None:
    centers = [{"id": "EU-RO-1", "availability": "LOTS"}, {"id": "US-KS-2", "availability": "LOW"}]
    assert first_of(catalogue([card(dataCenters=centers)]).offers(Search())).region == "US-KS-2"


# Why there is nothing


def test_nothing_in_stock_is_explained_with_what_was_looked_for(tmp_path: Path) -> None:
    with RunPodEmulator(stock={"*": "NONE"}) as cloud:
        provider = provider_at(cloud, tmp_path)
        search = Search(options={"regions": ["EU-RO-1"]}, min_cuda_version="13.0")
        assert list(provider.offers(search)) == []
    assert provider.why_no_offers(search) == (
        "RunPod has no GPU in stock in the secure cloud, in EU-RO-1, with a driver for CUDA 13.0; "
        "cloud: any in the recipe adds the community cloud"
    )


def test_the_place_of_a_volume_is_named_as_the_reason(provider: RunPodProvider) -> None:
    assert provider.why_no_offers(Search(volume="weights")) == (
        "RunPod has no GPU in stock in the secure cloud, where the volume weights is"
    )


def test_serverless_and_the_community_cloud_are_explained_in_their_own_words(provider: RunPodProvider) -> None:
    assert provider.why_no_offers(Search(kind=Kind.SERVERLESS)) == "RunPod has no GPU in stock for serverless"
    everywhere = Search(options={"cloud": "any"})
    assert provider.why_no_offers(everywhere) == "RunPod has no GPU in stock in the secure or community cloud"


def test_without_a_key_there_are_no_offers_but_an_error_that_names_the_variable(tmp_path: Path) -> None:
    provider = RunPodProvider(ProviderContext(tmp_path, {"HOME": str(tmp_path)}))
    with pytest.raises(AuthError) as refused:
        provider.offers(Search())
    assert "RUNPOD_API_KEY" in refused.value.hint
