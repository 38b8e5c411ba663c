"""Instances: how one is made, and all that is asked of them."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gpu_providers.base import Boot, LaunchRequest, Resource, ResourceState, Secret
from gpu_providers.errors import InvalidRequest, NotFound
from gpu_providers.names import check_name
from gpu_providers.values import Json
from gpu_providers.vast import instance_answers
from gpu_providers.vast.boot import boot
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.instance_answers import (
    DISK_GB,
    PORT,
    USD_PER_HOUR,
    created_at,
    environment_of,
    is_named,
    is_ours,
)
from gpu_providers.vast.names import OfferId
from gpu_providers.vast.offers import fresh
from gpu_providers.vast.options import Options, disk_gb
from gpu_providers.vast.packing import MOST_CHARACTERS, SCRIPT, characters, pack, pack_labels
from gpu_providers.vast.refusals import AskGone

ASK_IS_FRESH = timedelta(seconds=30)
"""For so long an ask is taken to be what its search said."""

_START_OF_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Instances:
    """The account's instances."""

    client: VastClient

    def launch(self, request: LaunchRequest, options: Options) -> Resource:
        """Make one. Raises as the contract's `launch`."""
        check_name(request.name)
        body = _body(request, options)
        check_limits(body)
        instance_id, price_usd_per_hour = self._create(request, options, body)
        return Resource(
            provider="vast",
            resource_id=str(instance_id),
            name=request.name,
            state=ResourceState.STARTING,
            endpoint="",
            price_usd_per_hour=price_usd_per_hour,
            created_at=datetime.now(UTC),
            labels=request.labels,
            detail="rented",
            region=request.offer.region,
        )

    def find(self, name: str) -> Resource | None:
        """The newest of this name."""
        named = [instance for instance in self.client.instances(label=name) if is_named(instance, name)]
        return _resource(max(named, key=lambda each: created_at(each) or _START_OF_TIME)) if named else None

    def all(self) -> Sequence[Resource]:
        """Ours, and no others."""
        return [_resource(instance) for instance in self.client.instances() if is_ours(instance)]

    def describe(self, resource_id: str) -> Resource:
        """Raises NotFound."""
        return _resource(self.client.instance(checked_id(resource_id)))

    def environment(self, resource_id: str) -> Mapping[str, Secret]:
        """Raises NotFound."""
        found = environment_of(self.client.instance(checked_id(resource_id)))
        return {name: Secret(value) for name, value in found.items()}

    def boot(self, resource_id: str) -> Boot:
        """Raises as the contract's `boot`."""
        return boot(self.client.instance(checked_id(resource_id)), datetime.now(UTC))

    def destroy(self, resource_id: str) -> None:
        """One that is gone already is success."""
        with contextlib.suppress(NotFound):
            self.client.destroy(checked_id(resource_id))

    def _create(self, request: LaunchRequest, options: Options, body: Json) -> tuple[int, float]:
        """Its id and its price an hour, by the ask of the offer or by that which its machine has now.

        Asks are renumbered within minutes.
        """
        offer = request.offer
        if abs(datetime.now(UTC) - offer.prices_as_of) <= ASK_IS_FRESH:
            with contextlib.suppress(AskGone):
                return self.client.create(OfferId.parse(offer.offer_id).ask_id, body), offer.price_usd_per_hour
        ask_id, price_usd_per_hour = fresh(self.client, request, options)
        return self.client.create(ask_id, body), price_usd_per_hour


def checked_id(resource_id: str) -> str:
    """Raises NotFound for what is no instance's id."""
    if not re.fullmatch(r"[1-9]\d*", resource_id, re.ASCII):
        raise NotFound(f"Vast.ai has no instance {resource_id!r}: their ids are numbers")
    return resource_id


def check_limits(body: Json) -> None:
    """Raises InvalidRequest for a request that Vast.ai would refuse for its size."""
    if (found := characters(body["env"])) > MOST_CHARACTERS:
        raise InvalidRequest(
            f"the launch takes {found} characters of environment, packed, and Vast.ai takes {MOST_CHARACTERS}",
            hint="shorten the environment, the engine's arguments or the chat template in the recipe",
        )


def _body(request: LaunchRequest, options: Options) -> dict[str, Any]:
    """`args` runs the image with an entrypoint of ours, which is in `onstart`: dstack's backend does the same."""
    disk = disk_gb(options, request.disk_gib)
    marks = {DISK_GB: str(disk), PORT: str(request.port), USD_PER_HOUR: str(request.offer.price_usd_per_hour)}
    body: dict[str, Any] = {
        "client_id": "me",
        "image": request.image,
        "disk": disk,
        "label": request.name,
        "runtype": "args",
        "onstart": "/bin/sh",
        "args": ["-c", SCRIPT],
        "env": {
            f"-p {request.port}:{request.port}": "1",
            **pack(_environment(request), _command(request)),
            **pack_labels({**request.labels, **marks}),
        },
        "cancel_unavail": True,
        "target_state": "running",
    }
    if request.offer.interruptible:  # any price makes it so, whatever was searched for (vast-cli#403)
        body["price"] = request.offer.price_parts["gpu"]
    return body


def _environment(request: LaunchRequest) -> dict[str, str]:
    return {**request.env, **{name: secret.reveal() for name, secret in request.secret_env.items()}}


def _command(request: LaunchRequest) -> tuple[str, ...]:
    """Raises InvalidRequest without an entrypoint: what unpacks the command takes the place of the image's."""
    if not request.entrypoint:
        raise InvalidRequest("an instance of Vast.ai is launched with an entrypoint, and this launch has none")
    return (*request.entrypoint, *request.command)


def _resource(instance: Json) -> Resource:
    return instance_answers.resource(instance, datetime.now(UTC))
