"""Processes of this machine as resources: real processes, real signals."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gpu_providers.base import LaunchRequest, Offer, ProviderContext, ResourceState, Search, Secret
from gpu_providers.errors import InvalidRequest, NotFound
from gpu_providers.local import client, record
from gpu_providers.local.provider import LocalProvider

LEADS_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
SAYS_GOODBYE = """
import signal, sys, time
def goodbye(*_):
    time.sleep(0.3)
    print("goodbye", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, goodbye)
sys.stdout.write("ready\\n")  # at once: `print` may have to write the end of the line apart
sys.stdout.flush()
time.sleep(600)
"""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(ProviderContext(tmp_path / "local", os.environ), grace_s=2.0)
    yield provider
    for left in provider.list_resources():
        provider.terminate(left.resource_id)


def request(
    provider: LocalProvider, script: str = "import time; time.sleep(600)", name: str = "gpu-one"
) -> LaunchRequest:
    return LaunchRequest(
        name=name,
        offer=provider.offers(Search())[-1],
        image="",
        command=(sys.executable, "-c", script),
        env={},
        secret_env={},
        port=free_port(),
        disk_gib=1,
        labels={"recipe": "smollm2-135m"},
        options={},
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def eventually(holds: Callable[[], bool]) -> None:
    assert client.wait_until(holds, 30.0)


def first_line(provider: LocalProvider, name: str = "gpu-one") -> str:
    eventually(lambda: bool(list(provider.logs(name))))
    return next(iter(provider.logs(name)))


def main_pid(provider: LocalProvider, name: str = "gpu-one") -> int:
    entry = record.load(provider.context.state_dir / name)
    assert entry is not None
    assert entry.process is not None
    return entry.process.pid


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@contextmanager
def stranger(**environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, **environ}) as process:
        try:
            yield process
        finally:
            process.kill()


def edit_record(provider: LocalProvider, change: Callable[[record.Record], record.Record]) -> None:
    folder = provider.context.state_dir / "gpu-one"
    entry = record.load(folder)
    assert entry is not None
    record.save(folder, change(entry))


# What this machine offers


def with_cards(tmp_path: Path, answer: str, exit_status: int = 0, **environ: str) -> LocalProvider:
    """A provider on a machine whose nvidia-smi answers so."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {exit_status}\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    return LocalProvider(ProviderContext(tmp_path / "local", {"PATH": path, **environ}))


def sold(offers: Sequence[Offer]) -> list[str]:
    return [offer.offer_id for offer in offers]


H100 = "NVIDIA H100 80GB HBM3, 81559"


@pytest.mark.parametrize(
    ("cards", "offer_ids"),
    [
        (1, ["local-h100x1", "local-cpu"]),
        (3, ["local-h100x1", "local-h100x2", "local-cpu"]),
        (8, ["local-h100x1", "local-h100x2", "local-h100x4", "local-h100x8", "local-cpu"]),
    ],
)
def test_cards_are_offered_by_one_two_four_and_so_on(tmp_path: Path, cards: int, offer_ids: list[str]) -> None:
    offers = with_cards(tmp_path, "\n".join([H100] * cards)).offers(Search())
    assert sold(offers) == offer_ids
    assert offers[0].gpu == "H100"
    assert offers[0].gpu_memory_gib == pytest.approx(79.65, abs=0.01)


def test_a_machine_without_cards_offers_its_cpu_with_its_memory(provider: LocalProvider) -> None:
    offer = provider.offers(Search())[-1]
    assert (offer.gpu, offer.gpu_count) == ("cpu", 0)
    assert 0 < offer.gpu_memory_gib <= psutil.virtual_memory().total / 2**30


@pytest.mark.parametrize(
    ("answer", "exit_status", "told"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, "exit 9: NVIDIA-SMI has"),
        ("Segmentation fault", 0, "not understood"),
        ("NVIDIA GB10, [N/A]", 0, "not understood"),
        ("NVIDIA GeForce GTX 1080, 8192", 0, "GTX 1080 is not in the catalogue"),
        (f"{H100}\nNVIDIA L4, 23034", 0, "different kinds: H100, L4"),
    ],
)
def test_cards_that_cannot_be_used_are_not_offered_and_the_doctor_says_why(
    tmp_path: Path, answer: str, exit_status: int, told: str
) -> None:
    provider = with_cards(tmp_path, answer, exit_status)
    assert sold(provider.offers(Search())) == ["local-cpu"]
    [check] = [check for check in provider.check() if not check.ok]
    assert check.subject == "GPU"
    assert told in check.message


@pytest.mark.parametrize(
    ("devices", "offer_ids"),
    [
        ("0", ["local-h100x1", "local-cpu"]),
        ("1,0", ["local-h100x1", "local-h100x2", "local-cpu"]),
        ("2", ["local-l4x1", "local-cpu"]),
        ("0,7,1", ["local-h100x1", "local-cpu"]),
        ("", ["local-cpu"]),
        ("-1", ["local-cpu"]),
    ],
)
def test_cards_that_are_hidden_from_the_process_are_not_offered(
    tmp_path: Path, devices: str, offer_ids: list[str]
) -> None:
    provider = with_cards(tmp_path, f"{H100}\n{H100}\nNVIDIA L4, 23034", CUDA_VISIBLE_DEVICES=devices)
    assert sold(provider.offers(Search())) == offer_ids


def test_an_hour_of_this_machine_costs_what_the_recipe_says(provider: LocalProvider) -> None:
    assert provider.offers(Search())[-1].price_usd_per_hour == 0
    assert provider.offers(Search({"price_usd_per_hour": 1.25}))[-1].price_parts == {"machine": 1.25}


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"prot": 8000}, "'prot'", "did you mean 'port'"),
        ({"region": "eu"}, "'region'", "known options: port"),
        ({"port": 0}, "port is 0", "1 to 65535"),
        ({"port": "8000"}, "port is '8000'", "1 to 65535"),
        ({"port": True}, "port is True", "1 to 65535"),
        ({"price_usd_per_hour": -1}, "price_usd_per_hour is -1", "0 or more"),
        ({"price_usd_per_hour": float("nan")}, "price_usd_per_hour is nan", "0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_a_hint(
    provider: LocalProvider, options: Mapping[str, object], message: str, hint: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        provider.offers(Search(options))
    assert hint in refusal.value.hint


# Launch


def test_the_process_gets_its_environment_without_the_users_credentials(tmp_path: Path) -> None:
    inherited = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/me",
        "AWS_PROFILE": "mine",
        "HF_TOKEN": "mine",
        "RUNPOD_API_KEY": "mine",
    }
    provider = LocalProvider(ProviderContext(tmp_path / "local", inherited))
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    given = replace(request(provider, script), env={"MODE": "test"}, secret_env={"HF_TOKEN": Secret("for-this")})
    provider.launch(given)
    seen = json.loads(first_line(provider))
    assert seen["HOME"] == "/home/me"
    assert seen["MODE"] == "test"
    assert seen["HF_TOKEN"] == "for-this"
    assert seen["GPU_LOCAL_RESOURCE"] == str(tmp_path / "local" / "gpu-one")
    assert seen["SPT_NOENV"] == "1", "without it the marker of vLLM's processes cannot be read"
    assert "mine" not in seen.values()


def test_no_secret_is_in_the_arguments_or_in_any_file(provider: LocalProvider) -> None:
    provider.launch(replace(request(provider), secret_env={"KEY": Secret("sk-very-secret")}))
    assert "sk-very-secret" not in " ".join(psutil.Process(main_pid(provider)).cmdline())
    files = [path for path in (provider.context.state_dir / "gpu-one").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"resource.json", "output.log"}
    assert [path for path in files if b"sk-very-secret" in path.read_bytes()] == []


def test_only_the_user_can_read_what_a_resource_writes(provider: LocalProvider) -> None:
    provider.launch(request(provider, "open('made', 'w').write('x'); print('done')"))
    first_line(provider)
    folder = provider.context.state_dir / "gpu-one"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"resource.json": 0o600, "output.log": 0o600, "made": 0o600}


def test_the_process_outlives_its_launcher_and_its_terminal(provider: LocalProvider) -> None:
    provider.launch(request(provider))
    pid = main_pid(provider)
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")


def test_a_port_in_use_is_refused_and_its_user_is_named(provider: LocalProvider) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(InvalidRequest, match=rf"port {port}: in use by .*\(pid {os.getpid()}\)") as refusal:
            provider.launch(replace(request(provider), port=port))
    assert "another port" in refusal.value.hint
    assert not (provider.context.state_dir / "gpu-one").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("/no/such/program",)},
        {"command": ("/etc/passwd",)},
        {"command": ()},
        {"command": ("sleep", "1\0")},
        {"name": "somebody-elses"},
        {"name": "gpu-../../escape"},
        {"port": 70000},
        {"options": {"prot": 1}},
    ],
)
def test_a_request_that_cannot_work_leaves_nothing(provider: LocalProvider, change: Mapping[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        provider.launch(replace(request(provider), **change))
    assert list(provider.context.state_dir.glob("**/*")) == []
    assert provider.list_resources() == []


def test_a_name_is_used_once(provider: LocalProvider) -> None:
    provider.launch(request(provider))
    with pytest.raises(InvalidRequest, match="has been used"):
        provider.launch(request(provider))
    assert provider.describe("gpu-one").state is ResourceState.RUNNING


LAUNCH_WITH_LITTLE_ROOM = """
import os, resource, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
from gpu_providers.errors import ProviderUnavailable
from test_local_provider import LocalProvider, ProviderContext, request
provider = LocalProvider(ProviderContext(Path(sys.argv[1]), os.environ))
wanted = request(provider)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    provider.launch(wanted)
except ProviderUnavailable as error:
    print(error.message)
"""


@pytest.mark.parametrize("room", ["nothing", "the intent but not the pid"])
def test_a_disk_that_is_full_leaves_no_process_and_no_folder(
    provider: LocalProvider, tmp_path: Path, room: str
) -> None:
    provider.launch(request(provider, name="gpu-ref"))
    file = provider.context.state_dir / "gpu-ref" / "resource.json"
    room_bytes = file.stat().st_size - 5 if room != "nothing" else 0
    provider.terminate("gpu-ref")
    other = tmp_path / "full"
    answer = subprocess.run(
        [sys.executable, "-c", LAUNCH_WITH_LITTLE_ROOM, str(other), str(room_bytes)],
        env={**os.environ, "TESTS": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert "cannot be written: File too large" in answer.stdout, answer.stderr
    assert list(other.glob("*")) == []
    assert client.marked(other) == {}


KILLED_AT_EVERY_LINE = """
import json, os, signal, sys, time
from dataclasses import replace
from pathlib import Path
import psutil
sys.path.insert(0, os.environ.pop("TESTS"))
from test_local_provider import LocalProvider, ProviderContext, request

WATCHED = {"_start", "start", "_save", "save", "_execute_child"}
provider = LocalProvider(ProviderContext(Path(sys.argv[1]), os.environ))
wanted = request(provider)

def launch_and_be_killed_at(line, wanted):
    left = line
    def count(frame, event, _):
        nonlocal left
        if frame.f_code.co_name not in WATCHED:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return count
    sys.settrace(count)
    provider.launch(wanted)
    os._exit(0)

def alive(command):
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["cmdline"] == command and process.info["status"] != psutil.STATUS_ZOMBIE
    ]

line, killed = 0, True
while killed:
    name, command = f"gpu-line-{line}", ["sleep", f"600.{line}{os.getpid()}"]
    child = os.fork()
    if child == 0:
        launch_and_be_killed_at(line, replace(wanted, name=name, command=tuple(command)))
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    time.sleep(0.02)  # the kernel lets the parent of a vfork go on before it shows the child's new command line
    before = alive(command)
    listed = [resource.name for resource in provider.list_resources()]
    provider.terminate(name)
    found = listed == [name] * len(before)
    print(json.dumps({"killed": killed, "ran": len(before), "found": found, "left": alive(command)}))
    line += 1 if before else 4  # every line from the start of the process on, and a sample of those before
"""


def test_a_launcher_killed_at_any_line_leaves_nothing_that_is_not_found_and_ended(tmp_path: Path) -> None:
    output = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_LINE, str(tmp_path / "local")],
        env={"PATH": os.environ["PATH"], "TESTS": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    runs = [json.loads(line) for line in output.splitlines()]
    assert [run for run in runs if not run["found"] or run["left"]] == []
    killed_before_the_start = [run for run in runs if run["killed"] and not run["ran"]]
    killed_after_the_start = [run for run in runs if run["killed"] and run["ran"]]
    assert len(killed_before_the_start) > 10
    assert len(killed_after_the_start) > 5
    assert runs[-1] == {"killed": False, "ran": 1, "found": True, "left": []}


# Its life and its end


def test_a_resource_is_described_as_it_was_launched(provider: LocalProvider) -> None:
    launched = provider.launch(request(provider))
    assert provider.describe("gpu-one") == launched
    assert launched.labels == {"recipe": "smollm2-135m"}
    assert launched.detail == f"process {main_pid(provider)}"
    assert launched.endpoint.startswith("http://127.0.0.1:")


def test_another_provider_object_finds_it_through_another_path(provider: LocalProvider, tmp_path: Path) -> None:
    provider.launch(request(provider))
    (tmp_path / "link").symlink_to(tmp_path / "local")
    other = LocalProvider(ProviderContext(tmp_path / "link", os.environ), grace_s=2.0)
    assert [resource.name for resource in other.list_resources()] == ["gpu-one"]
    other.terminate("gpu-one")
    assert provider.find("gpu-one") is None


def test_the_main_process_may_end_in_good_order(provider: LocalProvider) -> None:
    provider.launch(request(provider, SAYS_GOODBYE))
    first_line(provider)
    provider.terminate("gpu-one")
    assert list(provider.logs("gpu-one")) == ["ready", "goodbye"]


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    provider = LocalProvider(ProviderContext(tmp_path / "local", os.environ), grace_s=0.3)
    provider.launch(request(provider, IGNORES_SIGTERM))
    first_line(provider)
    pid = main_pid(provider)
    began = time.monotonic()
    provider.terminate("gpu-one")
    assert time.monotonic() - began >= 0.3
    assert not is_running(pid)


def test_descendants_end_with_the_main_process_even_in_a_session_of_their_own(provider: LocalProvider) -> None:
    provider.launch(request(provider, LEADS_A_CHILD))
    child = int(first_line(provider))
    provider.terminate("gpu-one")
    assert not is_running(child)


def test_an_orphan_that_still_holds_the_machine_is_broken_until_it_is_terminated(provider: LocalProvider) -> None:
    provider.launch(request(provider, LEADS_A_CHILD))
    child = int(first_line(provider))
    os.kill(main_pid(provider), signal.SIGKILL)
    eventually(lambda: provider.describe("gpu-one").state is ResourceState.BROKEN)
    assert str(child) in provider.describe("gpu-one").detail
    assert [resource.state for resource in provider.list_resources()] == [ResourceState.BROKEN]
    provider.terminate("gpu-one")
    assert not is_running(child)
    assert provider.find("gpu-one") is None


def test_a_process_whose_record_is_lost_is_found_by_its_marker(provider: LocalProvider) -> None:
    provider.launch(request(provider))
    pid = main_pid(provider)
    (provider.context.state_dir / "gpu-one" / "resource.json").write_text('{"version": 1, "process": {"pid": "x"')
    found = provider.describe("gpu-one")
    assert found.state is ResourceState.RUNNING
    assert found in provider.list_resources()
    provider.terminate("gpu-one")
    assert not is_running(pid)


def test_a_pid_that_now_belongs_to_a_stranger_is_never_signalled(provider: LocalProvider) -> None:
    provider.launch(request(provider, "pass"))
    eventually(lambda: provider.find("gpu-one") is None)
    with stranger() as bystander:
        edit_record(provider, lambda entry: replace(entry, process=client.Process(bystander.pid, created_s=1.0)))
        assert provider.find("gpu-one") is None
        assert provider.list_resources() == []
        provider.terminate("gpu-one")
        assert bystander.poll() is None


def test_a_step_of_the_system_clock_does_not_lose_a_process(provider: LocalProvider) -> None:
    """Linux tells times of creation by its clock, so all of them move with it."""
    provider.launch(request(provider))
    pid = main_pid(provider)
    edit_record(provider, lambda entry: replace(entry, process=client.Process(pid, created_s=1.0)))
    assert provider.describe("gpu-one").state is ResourceState.RUNNING
    provider.terminate("gpu-one")
    assert not is_running(pid)


@pytest.mark.parametrize("marker", ["/elsewhere/gpu-other", "{root}/not-ours", "{root}/gpu-one/deeper"])
def test_a_process_with_another_marker_is_not_ours(provider: LocalProvider, marker: str) -> None:
    provider.launch(request(provider))
    value = marker.format(root=provider.context.state_dir)
    with stranger(**{client.MARKER: value}) as bystander:
        assert [resource.name for resource in provider.list_resources()] == ["gpu-one"]
        provider.terminate("gpu-one")
        assert bystander.poll() is None


def test_a_process_that_was_started_by_a_resource_can_terminate_it_and_live(provider: LocalProvider) -> None:
    """As `gpu down` typed in a shell that runs on the resource; it must not kill itself half way."""
    provider.launch(request(provider))
    script = (
        "import os, sys; from pathlib import Path; from gpu_providers.base import ProviderContext;"
        "from gpu_providers.local.provider import LocalProvider;"
        "LocalProvider(ProviderContext(Path(sys.argv[1]), os.environ)).terminate('gpu-one'); print('lived')"
    )
    root = provider.context.state_dir
    environ = {**os.environ, client.MARKER: str(root / "gpu-one")}
    answer = subprocess.run([sys.executable, "-c", script, str(root)], env=environ, capture_output=True, text=True)
    assert answer.stdout == "lived\n"
    assert provider.find("gpu-one") is None


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as ended:
        process = psutil.Process(ended.pid)
        eventually(lambda: process.status() == psutil.STATUS_ZOMBIE)
        assert not client.is_alive(client.Process(ended.pid, process.create_time()))


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux shows a process whose main thread has ended")
def test_a_zombie_of_which_a_thread_still_runs_is_alive() -> None:
    code = "import ctypes, threading; threading.Thread(target=input).start(); ctypes.CDLL(None).pthread_exit(None)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        eventually(lambda: process.status() == psutil.STATUS_ZOMBIE)
        assert client.is_alive(client.Process(child.pid, process.create_time()))
        child.kill()
    assert not client.is_alive(client.Process(child.pid, process.create_time()))


@pytest.mark.parametrize("resource_id", ["", "..", "gpu-", "../../etc", "gpu-../one", "gpu-one\n"])
def test_what_cannot_be_a_name_of_ours_does_not_exist(provider: LocalProvider, resource_id: str) -> None:
    provider.launch(request(provider))
    assert provider.find(resource_id) is None
    with pytest.raises(NotFound):
        provider.describe(resource_id)
    with pytest.raises(NotFound):
        provider.logs(resource_id)
    provider.terminate(resource_id)
    assert len(provider.list_resources()) == 1


# Logs and what is left behind


def test_logs_can_be_read_after_the_end(provider: LocalProvider) -> None:
    provider.launch(
        request(provider, r"import sys; print('a'); print('b', file=sys.stderr); sys.stdout.write('c\r\n\xe9\nend')")
    )
    eventually(lambda: provider.find("gpu-one") is None)
    assert sorted(provider.logs("gpu-one")) == ["a", "b", "c", "end", "é"]
    assert list(provider.logs("gpu-one", tail=0)) == []


def test_following_logs_gives_whole_lines_and_ends_with_the_resource(provider: LocalProvider) -> None:
    script = (
        "import sys, time\nfor part in ('on', 'e\\ntw', 'o\\nend'):\n print(part, end='', flush=True); time.sleep(0.3)"
    )
    provider.launch(request(provider, script))
    assert list(provider.logs("gpu-one", follow=True)) == ["one", "two", "end"]


def test_what_ended_long_ago_is_forgotten_and_nothing_else(provider: LocalProvider) -> None:
    root = provider.context.state_dir
    for name in ("gpu-old", "gpu-recent", "gpu-no-record"):
        provider.launch(request(provider, "pass", name=name))
    provider.launch(request(provider, name="gpu-old-but-alive"))
    eventually(lambda: len(provider.list_resources()) == 1)
    (root / "gpu-no-record" / "resource.json").unlink()
    (root / "gpu-my-notes.txt").write_text("mine")
    eight_days_ago = time.time() - 8 * 86400
    for folder in (root / "gpu-old", root / "gpu-no-record", root / "gpu-old-but-alive"):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (eight_days_ago, eight_days_ago))
    provider.launch(request(provider, name="gpu-new"))
    left = {path.name for path in root.iterdir()}
    assert left == {"gpu-recent", "gpu-no-record", "gpu-old-but-alive", "gpu-new", "gpu-my-notes.txt"}


def test_the_doctor_reads_the_disk_where_the_folder_will_be(tmp_path: Path) -> None:
    provider = LocalProvider(ProviderContext(tmp_path / "not" / "yet", {"PATH": "/nowhere"}))
    checks = {check.subject: check for check in provider.check()}
    assert checks["GPU"].message == "no NVIDIA GPU: the CPU is offered"
    assert str(tmp_path) in checks["disk"].message
    assert not (tmp_path / "not").exists()
