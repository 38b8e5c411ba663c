"""A bare port at Vast.ai as it is, for those who ask for it."""

from collections.abc import Callable

import openai
import pytest
from driver import Gpu
from emulators.vast import VastEmulator
from rented_at_vast import created, made, parcel, up


def test_direct_is_the_bare_port_with_a_warning_and_works_with_the_openai_client(
    gpu: Gpu, vast: VastEmulator, rentable: Callable[..., str]
) -> None:
    launched = up(gpu, rentable("H100"), "--direct", "--show-key")
    assert launched.exit == 0, launched.stderr
    assert [line for line in launched.stderr.splitlines() if "unencrypted" in line] == [
        "--direct: the key and all prompts travel unencrypted over the internet (vast)"
    ]
    (instance,), document = made(vast), launched.json
    assert document["base_url"] == f"http://127.0.0.1:{instance.host_ports['8000/tcp']}/v1"
    assert gpu("url").stdout == f"{document['base_url']}\n"
    assert "GPU_TLS" not in parcel(created(vast)[0])[0]
    with openai.OpenAI(base_url=document["base_url"], api_key=document["api_key"]) as client:
        chunks = client.completions.create(model="tiny", prompt="Where?", max_tokens=3, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks).startswith("Paris")
    with (
        openai.OpenAI(base_url=document["base_url"], api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
