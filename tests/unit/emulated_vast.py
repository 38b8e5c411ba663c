"""What tests of Vast.ai's emulator have in common: someone who calls it, and bodies that it accepts."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from emulators.vast import VastEmulator

H100 = "H100 SXM"
RTX_4090 = "RTX 4090"
BY_PRICE = [["dph_total", "asc"]]


class Caller:
    """Someone with a key, by default the owner of the account; None: without one."""

    def __init__(self, cloud: VastEmulator, key: str | None = "") -> None:
        self.cloud = cloud
        self.headers = {} if key is None else {"Authorization": f"Bearer {key or cloud.key}"}

    def __call__(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        url = f"{self.cloud.url}/api{path}"
        return httpx.request(method, url, json=body, headers=self.headers, verify=False, **options)

    def search(self, **query: object) -> list[dict[str, Any]]:
        """The rows of a search."""
        answer = self("POST", "/v0/bundles/", query)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["offers"]
        return rows

    def offer(self, gpu: str = RTX_4090, **filters: object) -> dict[str, Any]:
        """The cheapest that has a port and is verified."""
        is_good = {"verified": {"eq": True}, "direct_port_count": {"gte": 1}}
        return self.search(gpu_name={"eq": gpu}, order=BY_PRICE, **is_good | filters)[0]

    def rent(self, ask: int | None = None, **more: object) -> httpx.Response:
        ask = self.offer()["id"] if ask is None else ask
        return self("PUT", f"/v0/asks/{ask}/", new_instance(**more))

    def rented(self, ask: int | None = None, **more: object) -> int:
        """The id of a new instance."""
        answer = self.rent(ask, **more)
        assert answer.json()["success"], answer.text
        id_: int = answer.json()["new_contract"]
        return id_

    def instance(self, id_: int) -> Any:
        return self("GET", f"/v0/instances/{id_}/").json()["instances"]

    def page(self, **query: object) -> Any:
        """Of the list; values become JSON where they have to be."""
        texts = {name: value if isinstance(value, str | int) else json.dumps(value) for name, value in query.items()}
        return self("GET", "/v1/instances/", params=texts).json()

    def listed(self, **query: object) -> list[int]:
        return [instance["id"] for instance in self.page(**query)["instances"]]

    def destroy(self, id_: int) -> httpx.Response:
        return self("DELETE", f"/v0/instances/{id_}/")


def new_instance(**more: object) -> Mapping[str, object]:
    """A body that is accepted, changed; what is None is left out."""
    body: dict[str, object] = {"client_id": "me", "image": "vllm/vllm-openai:v0.32.0", "disk": 20, "label": "gpu-a"}
    body |= {"runtype": "args", "onstart": "/bin/sh", "args": ["-c", "sleep 60"], "env": {"-p 8000:8000": "1"}}
    body |= {"cancel_unavail": True, "target_state": "running"} | more
    return {name: value for name, value in body.items() if value is not None}
