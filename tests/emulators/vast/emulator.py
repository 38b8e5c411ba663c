"""Vast.ai's API, its machines and its logs, on loopback.

/api/...                the control plane: keys are checked, bodies too, what is answered is checked against the cloud's
                        OpenAPI file
/s3/...                 where logs are uploaded to
/_emulator/...          bill, state and misbehave

The ports of instances are real TCP ports of loopback that pass raw bytes on to what listens in the container.
"""

from collections.abc import Mapping
from typing import Any

from ..cloud import Cloud
from ..misbehaviour import EVERYWHERE
from ..openapi import Conformance
from ..server import Request, Response, Route
from ..tcp_forward import TcpForwards
from .account import Account
from .answers import NAMES, refused
from .asks import Ask, Asks
from .creation import Creation
from .instance_json import as_json
from .instance_routes import InstanceRoutes
from .instances import Instances
from .logs import Logs
from .machines import stocked
from .search import Search
from .specification import VAST

POLL_S = 10.0


class VastEmulator(Cloud):
    """An account at Vast.ai with one key and some credit.

    `stock` is how many machines there are of a card, by its name: fewer than the catalogue has, or as many as pages
    need; `image_gb` is the traffic of a start, which is billed; the rest is as for every Cloud.
    """

    ENUM_FIELDS = (
        *("actual_status", "intended_status", "cur_state", "next_state"),
        *("verification", "gpu_arch", "cpu_arch"),
    )
    OPTIONAL_FIELDS = (
        *("success", "instances_found", "total_instances", "label_counts", "instance_api_key", "status_msg", "score"),
        *("uptime_mins", "disk_usage", "ssh_host", "ssh_port", "geolocation", "cur_state", "next_state", "is_bid"),
        *("cpu_cores", "cpu_ram", "disk_bw", "dlperf", "expected_reliability", "external", "rented", "hosting_type"),
        *("search", "instance", "reliability2", "credit_discount_max", "discounted_dph_total", "dph_total_adj"),
        *("error", "msg", "ask_id", "email", "balance"),
    )
    WORDS = (
        *(*EVERYWHERE, "spend-limit", "bid-too-low", "ids-change", "search-quota", "unseen", "outbid", "host-stops"),
        *("host-state", "clipped-disk", "no-container-key", "container-key-dies", "filters-ignored", "stale-log"),
    )

    def __init__(self, *, stock: Mapping[str, int] = {}, image_gb: float = 0.0, **of_every_cloud: Any) -> None:
        super().__init__(**of_every_cloud)
        self.key = "5eed" * 16
        self.image_gb = image_gb
        self.conformance = Conformance(VAST)
        self.forwards = TcpForwards()
        self.account = Account(self)
        self.asks = Asks(stocked(stock))
        self.instances = Instances(self)

    def routes(self) -> list[Route]:
        return [
            *self.account.routes(),
            *Search(self).routes(),
            *Creation(self).routes(),
            *InstanceRoutes(self).routes(),
            *Logs(self).routes(),
        ]

    @property
    def env(self) -> dict[str, str]:
        poll = {"GPU_VAST_POLL_S": f"{POLL_S / self.clock.speed:g}"} if self.clock.speed > 1 else {}
        return {"GPU_VAST_API_URL": self.url, "VAST_API_KEY": self.key, **poll}

    def start(self) -> None:
        with self.lock:  # early requests wait
            super().start()
            self.forwards.start()

    def stop(self) -> None:
        super().stop()
        self.forwards.stop()

    def admit(self, request: Request) -> Response | None:
        return self.account.admit(request) if request.path.startswith("/api/") else None

    def refusal(self, status: int, detail: str) -> Response:
        return refused(status, NAMES.get(status, "server_error"), detail)

    def gpu_of(self, request: Request) -> str:
        ask = self.ask(request)
        return ask.machine.gpu_name if ask else ""

    def ask(self, request: Request) -> Ask | None:
        """The one that a create is about, if it is for sale."""
        id_ = request.params.get("id", "")
        return self.asks.get(int(id_)) if id_.isdecimal() else None

    def tick(self) -> None:
        self.instances.tick()

    def state(self) -> Any:
        now = self.clock.now()
        return {
            "instances": [as_json(instance, now) for instance in self.instances],
            "balance_usd": self.billing.balance_usd(),
        }

    # For tests.

    def change_ids(self) -> None:
        """All that is for sale has another id from now on."""
        with self.lock:
            self.asks.renew()

    def outbid(self, name: str | int) -> None:
        """Someone pays more for what that instance (its label or its id) runs on."""
        with self.lock:
            self.instances.stop(self.instances.named(name))

    def raise_price(self, name: str | int, factor: float) -> None:
        """Its host asks for so many times what was agreed, from now on."""
        with self.lock:
            self.instances.raise_price(self.instances.named(name), factor)

    def redirect(self, name: str | int, port: int) -> None:
        """The ports of that instance lead to this one of loopback: to whoever wants to be in the middle."""
        with self.lock:
            self.instances.named(name).redirected = port
