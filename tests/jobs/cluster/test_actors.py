"""The same job on a real Ray: workers in separate processes, and what happens when they die."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from PIL import Image

from scripts.stress.kills import FLAGS
from tests.capabilities import known_signals, needs_signals
from tests.hard_videos import episode
from tests.helpers import check_same
from tests.jobs.folder.test_files import Recorder
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import ModelError, OptionError, StoppedError
from vidx4.jobs.cluster.backend import ClusterBackend
from vidx4.jobs.cluster.task_queue import WorkerLost
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.item import FileOptions
from vidx4.jobs.folder.passes import Pass
from vidx4.jobs.folder.reports import Outcome
from vidx4.jobs.folder.selection import Selection
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.still.upscale import upscale_picture
from vidx4.jobs.stop import Stop
from vidx4.media.checks import verify_output
from vidx4.media.options import EncodeOptions

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[client]'")

from vidx4.jobs.cluster.actors import Allocation, _RayWorker, connect  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)
LIKE_FAST = ("--batch-size", "4", "--crf", "30")
"""Flags that give the same as FAST, beside FLAGS."""
PATIENCE = 900.0
"""Seconds after which something is taken to hang: many times what it takes, since the machine may be busy."""
PATIENT_RAY = {
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "120",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(int(PATIENCE)),
    "RAY_worker_register_timeout_seconds": str(int(PATIENCE)),
    "RAY_gcs_server_request_timeout_seconds": str(int(PATIENCE)),
    "RAY_health_check_failure_threshold": "100",
}
"""Environment in which Ray gives no process up because it is slow."""
OPEN = PATIENT_RAY | {"RAY_AUTH_MODE": "disabled", "GRPC_ENABLE_FORK_SUPPORT": "0"}
"""Environment of clusters without a token, whether or not this machine has one. What serves Ray's clients
starts processes beside many threads, which handlers of gRPC may not survive."""
COMPACT = UpscaleOptions(model="compact", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of eight shots, with a variable rate, three sound tracks and subtitles."""
    return episode(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


@contextmanager
def program(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the program; it is killed at the end of the block, or when it hangs."""
    command = [sys.executable, "-m", "vidx4", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, **options) as process:
        guard = Timer(PATIENCE, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def upscaled(clip: Path, output: Path, *flags: str, **options: Any) -> Path:
    """Run the program to its end; return the output."""
    with program("upscale", str(clip), str(output), *FLAGS, *LIKE_FAST, *flags, **options) as process:
        out, errors = process.communicate()
    assert (process.returncode, out, errors) == (0, "", "")
    return output


@pytest.fixture(scope="module")
def local(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return what the program makes without a cluster, in a process of its own, as the workers are."""
    return upscaled(clip, tmp_path_factory.mktemp("local") / "out.mkv").read_bytes()


@pytest.fixture(scope="module")
def backend() -> Iterator[ClusterBackend]:
    """Start Ray with two workers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT_RAY.items():
            patch.setenv(name, value)
        with connect("local", 2) as loader:
            yield loader.load(COMPACT)


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mkv", Request(encode=FAST))


def workers() -> list[psutil.Process]:
    """Return the processes of this one's workers."""
    children = psutil.Process().children(recursive=True)
    return [each for each in children if each.name().startswith("ray::_Actor")]


def test_the_output_is_that_of_a_job_without_ray(backend: ClusterBackend, plan: Plan, local: bytes) -> None:
    report = run(backend.job(plan, 4))
    check_same(plan.output, local)
    assert (report.num_frames, report.num_new, report.num_shots) == (215, 215, 8)
    assert len(report.workers) == 2
    assert all(verify.is_kept for verify in verify_output(plan.written, plan.output))
    kinds = [each.stream.kind for each in plan.written.streams.carried]
    assert kinds == ["audio", "audio", "audio", "subtitle"]


def test_the_same_after_a_worker_is_killed(
    backend: ClusterBackend, plan: Plan, local: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[int] = []

    def kill(_: Any) -> None:
        if not killed:
            victim = workers()[0]
            killed.append(victim.pid)
            victim.kill()

    report = run(backend.job(plan, 4), Control(on_part=kill))
    assert killed
    check_same(plan.output, local)
    assert f"(process {killed[0]}) was lost: " in caplog.text
    assert report.num_frames == 215


def test_a_stopped_job_is_resumed_without_the_cluster(
    backend: ClusterBackend, plan: Plan, local: bytes, tmp_path: Path
) -> None:
    stop, report = Stop(), tmp_path / "report.json"
    with pytest.raises(StoppedError):
        run(backend.job(plan, 4), Control(on_part=lambda _: stop.set(), stop=stop))
    upscaled(plan.source.path, plan.output, "--report", str(report))
    assert 0 < json.loads(report.read_bytes())["num_new"] < 215
    check_same(plan.output, local)


def test_the_files_of_a_folder_share_the_workers(
    backend: ClusterBackend, clip: Path, local: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.mkv").write_bytes(clip.read_bytes())
    (folder / "broken.mp4").write_bytes(b"nothing")
    Image.new("RGB", (8, 6), "red").save(folder / "photo.png")
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    ear = Overlap()
    options = FileOptions(COMPACT, Request(encode=FAST), batch_size=4)
    loader = SimpleNamespace(load=lambda _: backend, card=lambda _: None)
    batch = Batch(Selection(folder, tmp_path / "out"), lambda _: options, loader=loader)
    each = Pass(batch, ear, Stop(), Settling(0))
    reports = {report.path.name: report for report in each.run(batch.selection.find())}
    assert {name: each.outcome for name, each in reports.items()} == {
        **dict.fromkeys(("a.mkv", "b.mkv", "c.mkv", "d.mkv", "photo.png"), Outcome.DONE),
        "broken.mp4": Outcome.FAILED,
    }
    outputs = [reports[f"{name}.mkv"].output for name in "abcd"]
    for output in outputs:
        assert output is not None
        check_same(output, local)
    assert ear.most > 1  # a file begins before the last one is done
    skipped = [batch.skip(path) for path in batch.selection.find()]
    assert [report is not None for report in skipped].count(True) == 5


class Overlap(Recorder):
    """Counts how many files are at work at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[Path] = set()
        self.most = 0

    def begun(self, item: Any, number: int, num_files: int) -> None:
        self.running.add(item.path)
        self.most = max(self.most, len(self.running))

    def reported(self, report: Any) -> None:
        self.running.discard(report.path)


@needs_signals
@pytest.mark.skipif(sys.platform != "linux", reason="reads from /proc which signals are blocked")
@pytest.mark.parametrize("number", known_signals("SIGINT", "SIGTERM", "SIGHUP"))
def test_processes_of_ray_block_signals_to_the_whole_group(
    backend: ClusterBackend, number: signal.Signals
) -> None:
    servers = [each for each in psutil.Process().children() if each.name() in ("gcs_server", "raylet")]
    assert len(servers) == 2
    for each in servers:
        status = Path(f"/proc/{each.pid}/status").read_text(encoding="utf-8")
        (blocked,) = re.findall(r"^SigBlk:\s*(\w+)", status, re.MULTILINE)
        assert int(blocked, 16) >> (number - 1) & 1


def test_a_picture(backend: ClusterBackend, upscaler: Upscaler, tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "samples" / "photo.png"
    for name, each in (("a.png", backend), ("b.png", LocalBackend(upscaler))):
        upscale_picture(path, tmp_path / name, each)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_other_options_need_no_other_workers(backend: ClusterBackend, plan: Plan, upscaler: Upscaler) -> None:
    options = UpscaleOptions(model="compact", device="cpu", num_inference_steps=2, seed=3)
    other = backend.with_options(options)
    assert other.identity == upscaler.with_options(options).identity
    with pytest.raises(OptionError, match="150"):
        backend.with_options(UpscaleOptions(model="compact", device="cpu", noise_level=200))
    with pytest.raises(OptionError, match="--device cuda"):
        backend.with_options(UpscaleOptions(model="compact", device="cuda"))
    with pytest.raises(ModelError, match="'nothing'"):
        backend.with_options(UpscaleOptions(model="nothing"))


def test_progress_is_reported_while_parts_are_made(
    backend: ClusterBackend, clip: Path, tmp_path: Path
) -> None:
    plan = plan_video(clip, tmp_path / "out.mkv", Request(encode=FAST))
    seen: list[Progress] = []
    slow = backend.with_options(UpscaleOptions(model="compact", device="cpu", num_inference_steps=8))
    run(slow.job(plan, 4), Control(seen.append))
    assert len(seen) > 10  # there are ten parts
    assert seen[-1].num_done == seen[-1].num_new == 215
    assert all(progress.memory > 100 * 2**20 for progress in seen)


@contextmanager
def upscale(clip: Path, output: Path, *flags: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    local = ("--cluster", "local", "--workers", "2")
    with program("upscale", str(clip), str(output), *FLAGS, *LIKE_FAST, *local, *flags, **options) as process:
        yield process


def wait_for(condition: Path, name: str, process: subprocess.Popen[str]) -> None:
    """Wait until a folder holds files of a name."""
    while not any(condition.glob(name)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_the_same_after_the_driver_is_killed(
    backend: ClusterBackend, clip: Path, tmp_path: Path, local: bytes
) -> None:
    output = tmp_path / 'it\'s "out".mkv'
    with upscale(clip, output) as process:
        wait_for(tmp_path, "*.vidx4/0*.json", process)
        process.kill()
        process.communicate()
    assert not output.exists()
    report = run(backend.job(plan_video(clip, output, Request(encode=FAST)), 4))
    assert 0 < report.num_new < report.num_frames == 215
    check_same(output, local)


@needs_signals
def test_with_json_a_killed_worker_is_an_event_and_sigterm_keeps_what_is_done(
    clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    with upscale(clip, output, "--json", "--steps", "30", start_new_session=True) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if len([each for each in events if each["event"] == "part"]) == 1:
                break
        victims = psutil.Process(process.pid).children(recursive=True)
        next(each for each in victims if each.name().startswith("ray::_Actor")).kill()
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "warning":
                break
        os.killpg(process.pid, signal.SIGTERM)  # as a service manager does: to all processes
        out, _ = process.communicate()
    events += [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 130
    warnings = [each["message"] for each in events if each["event"] == "warning"]
    assert any(re.match(r"Worker \d .* the shot at \d", each) for each in warnings)
    assert re.search(r"\d+ of 215 frames", events[-1]["message"])
    assert events[-1]["command"].startswith("vidx4 upscale")
    assert any(tmp_path.glob("*.vidx4/0*.nut"))


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Start a cluster beside this process; return its ports for machines and for clients."""
    port, client_port = free_port(), free_port()
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *(f"--port={port}", f"--ray-client-server-port={client_port}", "--num-cpus=2"),
        *("--include-dashboard=false", "--disable-usage-stats"),
    ]
    null, environment = subprocess.DEVNULL, os.environ | OPEN
    deadline = time.monotonic() + PATIENCE
    head = subprocess.Popen(command, env=environment, stdout=null, stderr=null)
    num_starts = 1
    try:
        while not (is_open(port) and is_open(client_port)):
            if head.poll() is not None:
                # On a busy machine: Ray gives its own processes 30 s to start, which no setting changes.
                head = subprocess.Popen(command, env=environment, stdout=null, stderr=null)
                num_starts += 1
            assert num_starts <= 4
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port, client_port
    finally:
        children = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        head.wait(PATIENCE)
        for each in psutil.wait_procs(children, timeout=10)[1]:
            each.kill()


@pytest.mark.parametrize("kind", ["auto", "ray://"])
def test_a_running_cluster_is_joined(
    kind: str, ports: tuple[int, int], clip: Path, tmp_path: Path, local: bytes
) -> None:
    (port, client_port), output = ports, tmp_path / "out.mkv"
    address, more = ("auto", "--send-model") if kind == "auto" else (f"ray://127.0.0.1:{client_port}", "-q")
    environment = os.environ | OPEN | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    flags = ("--cluster", address, "--workers", "2", more)
    check_same(upscaled(clip, output, *flags, env=environment), local)


@pytest.mark.parametrize(
    ("nodes", "num_workers", "device", "expected"),
    [
        ([{"CPU": 16.0, "GPU": 2.0}], None, "auto", Allocation(2, 1, 1, 8)),
        ([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}], None, "auto", Allocation(12, 1, 1, 8)),
        ([{"CPU": 64.0, "GPU": 8.0}], 3, "cuda", Allocation(3, 1, 1, 8)),
        ([{"CPU": 64.0, "GPU": 8.0}], None, "cpu", Allocation(16, 0, 4, 4)),
        ([{"CPU": 2.0}], None, "auto", Allocation(1, 0, 2, 2)),
        ([{"CPU": 2.0}], 2, "auto", Allocation(2, 0, 1, 1)),
        ([{"CPU": 4.0}, {"CPU": 4.0}, {"CPU": 4.0}], 2, "auto", Allocation(2, 0, 4, 4)),
    ],
)
def test_a_cluster_is_divided_among_workers(
    nodes: list[dict[str, float]], num_workers: int | None, device: str, expected: Allocation
) -> None:
    assert Allocation.of(nodes, num_workers, device) == expected


@pytest.mark.parametrize("error", [ConnectionError("broken"), ray.exceptions.RaySystemError("broken")])
def test_a_worker_that_can_not_be_requested_is_lost(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable:
        def options(self, **_: Any) -> "Unreachable":
            return self

        def remote(self, _: int) -> None:
            raise error

    monkeypatch.setattr(ray, "remote", lambda _: Unreachable())
    with pytest.raises(WorkerLost, match=r"Worker 3 .*broken"):
        _RayWorker(3, Allocation(4, 0, 1, 1))


@pytest.mark.parametrize(("device", "fact"), [("cuda", "--device cpu"), ("cuda:1", "cuda:1")])
def test_devices_that_workers_do_not_have_are_refused(device: str, fact: str) -> None:
    with pytest.raises(OptionError, match=fact):
        Allocation.of([{"CPU": 2.0}], None, device)
