"""What the contract in `gpu_providers.base` promises, as tests. How to use it: `gpu_providers.testing`."""
# ruff: noqa: S101 - tests assert

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from gpu_providers.base import RESOURCE_PREFIX, LaunchRequest, Offer, Provider, Resource, ResourceState, Search, Secret
from gpu_providers.errors import InvalidRequest, NotFound
from gpu_providers.gpus import GPUS

UP_LINE = "conformance: up"
"""What the command of a request prints once it runs."""
SECRET = "conformance-secret-2f1c9a"  # noqa: S105 - a value to look for; it opens nothing

Launch = Callable[[], Resource]
RequestFor = Callable[[str], LaunchRequest]
Crash = Callable[[Resource], None]


class ProviderConformance:
    """Subclass it and give the fixtures `provider`, `request_for` and `crash`."""

    timeout_s: ClassVar[float] = 60.0
    """How long a resource may take to come up, to be seen as dead, and to go."""
    search: ClassVar[Search] = Search()
    """One with which the provider has offers."""

    @pytest.fixture
    def provider(self) -> Provider:
        """The provider under test."""
        raise NotImplementedError

    @pytest.fixture
    def request_for(self) -> RequestFor:
        """Builds, for a name, a request whose command prints `UP_LINE` and then stays."""
        raise NotImplementedError

    @pytest.fixture
    def crash(self) -> Crash:
        """Makes the command of a running resource die without the provider being told."""
        raise NotImplementedError

    @pytest.fixture
    def launch(self, provider: Provider, request_for: RequestFor) -> Iterator[Launch]:
        """Launches under a new name, with a secret, and waits until the command runs; ends all of it after the test."""
        with self.launching(provider, request_for) as launch:
            yield launch

    @pytest.fixture
    def running(self, launch: Launch) -> Resource:
        """One whose command runs, for tests that only look. Where launches are dear, one is enough for all of them:
        make it with `launching`, in a fixture with the scope of the class.
        """
        return launch()

    @classmethod
    @contextmanager
    def launching(cls, provider: Provider, request_for: RequestFor) -> Iterator[Launch]:
        """What launches; at the end all of it is terminated."""
        names: list[str] = []

        def launch_and_wait() -> Resource:
            names.append(_new_name())
            request = request_for(names[-1])
            secrets = {**request.secret_env, "CONFORMANCE_SECRET": Secret(SECRET)}
            resource = provider.launch(replace(request, secret_env=secrets))
            cls.eventually(provider, lambda: _is_up(provider, resource), "the command runs")
            return resource

        try:
            yield launch_and_wait
        finally:
            for name in names:
                if left := provider.find(name):
                    provider.terminate(left.resource_id)

    @classmethod
    def eventually(cls, provider: Provider, holds: Callable[[], bool], what: str) -> None:
        """Ask as often as the provider allows until it holds; fail after `timeout_s`."""
        deadline = time.monotonic() + cls.timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {cls.timeout_s:.0f} s: {what}"
            time.sleep(provider.poll_interval_s)

    def gone(self, provider: Provider, resource: Resource) -> None:
        """Wait until the cloud's own word is that it does not exist."""
        self.eventually(provider, lambda: not _exists(provider, resource.resource_id), "describe raises NotFound")

    # Offers

    def test_every_offer_names_a_known_card_or_the_cpu(self, provider: Provider) -> None:
        for offer in self.some_offers(provider):
            assert offer.gpu == "cpu" or offer.gpu in GPUS
            assert (offer.gpu_count == 0) == (offer.gpu == "cpu")
            assert offer.gpu_count >= 0
            assert offer.gpu_memory_gib > 0

    def test_the_parts_of_a_price_add_up_to_it(self, provider: Provider) -> None:
        for offer in self.some_offers(provider):
            assert offer.price_usd_per_hour >= 0
            assert sum(offer.price_parts.values()) == pytest.approx(offer.price_usd_per_hour)

    def test_every_price_has_a_date_in_utc_that_is_not_in_the_future(self, provider: Provider) -> None:
        for offer in self.some_offers(provider):
            _assert_utc(offer.prices_as_of)
            assert offer.prices_as_of <= datetime.now(UTC) + timedelta(minutes=5)

    def test_an_offer_carries_its_provider_and_an_id_of_its_own(self, provider: Provider) -> None:
        offers = self.some_offers(provider)
        assert {offer.provider for offer in offers} == {provider.name}
        assert len({offer.offer_id for offer in offers}) == len(offers)

    def test_an_unknown_option_is_refused_by_name(self, provider: Provider) -> None:
        with pytest.raises(InvalidRequest, match="no_such_option"):
            provider.offers(replace(self.search, options={**self.search.options, "no_such_option": 1}))

    def some_offers(self, provider: Provider) -> list[Offer]:
        """The provider's offers; a provider that has none cannot be tested."""
        offers = list(provider.offers(self.search))
        assert offers, provider.why_no_offers(self.search) or "there are no offers, and no reason is given"
        return offers

    # One life

    def test_what_was_launched_is_found_described_and_listed(self, provider: Provider, running: Resource) -> None:
        described = provider.describe(running.resource_id)
        found = provider.find(running.name)
        listed = [resource for resource in provider.list_resources() if resource.name == running.name]
        assert described.state is ResourceState.RUNNING
        assert found is not None
        assert [running.resource_id] == [resource.resource_id for resource in listed]
        assert {running.resource_id} == {described.resource_id, found.resource_id}
        assert {running.name} == {described.name, found.name}

    def test_a_resource_keeps_its_price_its_endpoint_and_its_time(self, provider: Provider, running: Resource) -> None:
        described = provider.describe(running.resource_id)
        _assert_utc(described.created_at)
        assert abs(described.created_at - datetime.now(UTC)) < timedelta(seconds=self.timeout_s + 300)
        assert described.endpoint.startswith(("http://", "https://"))
        assert not described.endpoint.endswith("/")
        assert described.price_usd_per_hour >= 0
        assert described.provider == provider.name

    def test_logs_are_lines_and_tail_keeps_the_last(self, provider: Provider, running: Resource) -> None:
        lines = list(provider.logs(running.resource_id))
        assert not [line for line in lines if line.endswith(("\n", "\r"))]
        assert list(provider.logs(running.resource_id, tail=1)) == lines[-1:]

    def test_following_logs_ends_when_asked(self, provider: Provider, running: Resource) -> None:
        asked = iter([False])
        lines = provider.logs(running.resource_id, follow=True, stop=lambda: next(asked, True))
        assert UP_LINE in list(lines)

    def test_following_logs_ends_with_the_resource(self, provider: Provider, launch: Launch) -> None:
        resource = launch()
        deadline = time.monotonic() + self.timeout_s
        lines = provider.logs(resource.resource_id, follow=True, stop=lambda: time.monotonic() > deadline)
        assert UP_LINE in lines
        provider.terminate(resource.resource_id)
        for _ in lines:
            pass
        assert time.monotonic() < deadline, "it went on after the end"

    def test_what_is_terminated_is_gone_everywhere(self, provider: Provider, launch: Launch) -> None:
        resource = launch()
        provider.terminate(resource.resource_id)
        self.gone(provider, resource)
        assert provider.find(resource.name) is None
        assert resource.name not in [other.name for other in provider.list_resources()]
        provider.forget(resource.name)
        assert resource.name not in provider.kept()

    def test_terminating_twice_is_success(self, provider: Provider, launch: Launch) -> None:
        resource = launch()
        provider.terminate(resource.resource_id)
        provider.terminate(resource.resource_id)
        self.gone(provider, resource)
        provider.terminate(resource.resource_id)

    def test_a_command_that_died_is_not_called_running(self, provider: Provider, launch: Launch, crash: Crash) -> None:
        resource = launch()
        crash(resource)
        self.eventually(provider, lambda: not _is_running(provider, resource), "a dead command is seen")
        provider.terminate(resource.resource_id)
        self.gone(provider, resource)

    def test_ending_one_resource_leaves_the_other_alone(
        self, provider: Provider, running: Resource, launch: Launch
    ) -> None:
        other = launch()
        provider.terminate(other.resource_id)
        self.gone(provider, other)
        assert _is_running(provider, running)
        assert UP_LINE in _logs(provider, running.resource_id)

    # What does not exist

    def test_what_never_existed_is_not_found(self, provider: Provider) -> None:
        assert provider.find(_new_name()) is None
        with pytest.raises(NotFound):
            provider.describe(_new_name())
        with pytest.raises(NotFound):
            list(provider.logs(_new_name()))

    def test_terminating_what_never_existed_is_success(self, provider: Provider) -> None:
        provider.terminate(_new_name())

    def test_a_refused_launch_leaves_nothing(self, provider: Provider, request_for: RequestFor) -> None:
        request = request_for(_new_name())
        with pytest.raises(InvalidRequest):
            provider.launch(replace(request, options={**request.options, "no_such_option": 1}))
        assert provider.find(request.name) is None
        assert request.name not in [resource.name for resource in provider.list_resources()]

    # Care

    def test_only_what_carries_our_prefix_is_listed(self, provider: Provider, running: Resource) -> None:
        names = [resource.name for resource in provider.list_resources()]
        assert running.name in names
        assert [name for name in names if not name.startswith(RESOURCE_PREFIX)] == []

    def test_a_secret_shows_up_nowhere(self, provider: Provider, running: Resource) -> None:
        seen = [
            repr(running),
            repr(provider.describe(running.resource_id)),
            repr(provider.find(running.name)),
            repr(provider.list_resources()),
            repr(provider.check()),
            *provider.logs(running.resource_id),
        ]
        assert [text for text in seen if SECRET in text] == []

    def test_the_doctor_is_answered(self, provider: Provider) -> None:
        checks = provider.check()
        assert checks
        assert all(check.subject and check.message for check in checks)


def _new_name() -> str:
    return f"{RESOURCE_PREFIX}conformance-{uuid.uuid4().hex[:8]}"


def _exists(provider: Provider, resource_id: str) -> bool:
    try:
        provider.describe(resource_id)
    except NotFound:
        return False
    return True


def _is_up(provider: Provider, resource: Resource) -> bool:
    """Some machines are set up by the very question."""
    return provider.boot(resource.resource_id).running and UP_LINE in _logs(provider, resource.resource_id)


def _is_running(provider: Provider, resource: Resource) -> bool:
    found = provider.find(resource.name)
    return found is not None and found.state is ResourceState.RUNNING


def _logs(provider: Provider, resource_id: str) -> list[str]:
    try:
        return list(provider.logs(resource_id))
    except NotFound:
        return []  # a cloud may have none yet


def _assert_utc(moment: datetime) -> None:
    assert moment.utcoffset() == timedelta(0)
