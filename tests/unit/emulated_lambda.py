"""What tests of Lambda's emulator have in common: someone who calls it, and a launch that it accepts."""

from typing import Any

import httpx
from driver import PATIENCE_S
from emulators.lambda_cloud import LambdaEmulator

H100, REGION = "gpu_1x_h100_sxm5", "us-south-2"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICN+lJwsONkwrdsSnQsu1ydUkIuIg5oOC+Eslvmtt60T someone"


class Caller:
    """Someone with a key, by default the owner of the account, whose SSH key `mine` is registered; "-": without one."""

    def __init__(self, cloud: LambdaEmulator, key: str = "", user_agent: str = "tests/1") -> None:
        self.cloud = cloud
        authorization = {} if key == "-" else {"Authorization": f"Bearer {key or cloud.key}"}
        self.headers = {"User-Agent": user_agent, **authorization}

    def __call__(self, method: str, path: str, body: object = None) -> httpx.Response:
        url = f"{self.cloud.url}/api/v1{path}"
        return httpx.request(method, url, json=body, headers=self.headers, verify=False, timeout=PATIENCE_S)

    def data(self, path: str) -> Any:
        return self("GET", path).json()["data"]

    def add_key(self, name: str = "mine") -> httpx.Response:
        return self("POST", "/ssh-keys", {"name": name, "public_key": PUBLIC_KEY})

    def launch(self, **more: object) -> httpx.Response:
        return self("POST", "/instance-operations/launch", new_instance(**more))

    def launched(self, **more: object) -> str:
        """The id of a new instance."""
        answer = self.launch(**more)
        assert answer.status_code == 200, answer.text
        (id_,) = answer.json()["data"]["instance_ids"]
        return str(id_)

    def instance(self, id_: str) -> Any:
        return self.data(f"/instances/{id_}")

    def listed(self) -> list[str]:
        return [instance["id"] for instance in self.data("/instances")]

    def terminate(self, *ids: str) -> httpx.Response:
        return self("POST", "/instance-operations/terminate", {"instance_ids": ids})

    def made_file_system(self, name: str = "weights", region: str = REGION) -> Any:
        return self("POST", "/filesystems", {"name": name, "region": region}).json()["data"]


def new_instance(**more: object) -> dict[str, object]:
    """A launch that is accepted, changed; what is None is left out."""
    body: dict[str, object] = {"region_name": REGION, "instance_type_name": H100, "ssh_key_names": ["mine"]}
    body |= {"name": "gpu-a", "file_system_names": []} | more
    return {name: value for name, value in body.items() if value is not None}


def code(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error."""
    return answer.status_code, answer.json()["error"]["code"]
