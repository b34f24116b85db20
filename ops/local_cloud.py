"""The local cloud: start it, deploy the real stacks to it, stop it, keeping its data.

    python -m ops.local_cloud run | stop | status

Tests start one of their own with `ensure_running(directory)`; each directory has its port, state and outputs.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree, which
from typing import Any

import boto3
from botocore.exceptions import ClientError

from ops.outputs import Outputs, local_credentials

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / ".local"
LOCAL_REGION = "us-east-1"
ENVIRONMENT = f"aws://000000000000/{LOCAL_REGION}"
# What a deployment is made of: while none of it changes, there is nothing to deploy.
INGREDIENTS = ("functions", "infra", "cdk.json", "package-lock.json", "requirements.lock")

FINGERPRINT = "/tessera/local/deployed"

START_SECONDS = 60
STOP_SECONDS = 120
ANSWER_SECONDS = 60

Say = Callable[[str], None]


class LocalCloudError(Exception):
    """The local cloud cannot be had; the message says what to do."""


@dataclass(frozen=True)
class _Process:
    """A cloud that was started: enough to know it again, for a pid alone may be someone else's by now."""

    pid: int
    port: int
    born: str


def _say(line: str) -> None:
    print(line, flush=True)


def ensure_running(directory: Path = DIRECTORY, *, say: Say = _say) -> Outputs:
    """Make sure that the cloud of `directory` is up with the stacks of this tree; safe to call at any time."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with _only_one(directory, say):
        process = _running(directory)
        if process is None:
            process = _start(directory, say)
        endpoint = _endpoint(process.port)
        fingerprint = _fingerprint(endpoint)
        outputs_file = directory / "outputs.json"
        if _deployed(endpoint) == fingerprint and outputs_file.exists():
            outputs = Outputs.read(outputs_file, endpoint)
            if _answers(outputs, seconds=5):
                say(f"The stacks are up to date at {endpoint}")
                return outputs
        _deploy(directory, endpoint, say)
        outputs = Outputs.read(outputs_file, endpoint)
        if not _answers(outputs, seconds=ANSWER_SECONDS):
            raise LocalCloudError(
                f"The stacks are deployed but {outputs.base_url} does not answer.\n"
                f"{directory / 'cloud.log'} may say why. "
                "If the functions are sound, `make clean` starts afresh (it deletes the local data)."
            )
        _remember_deployed(endpoint, fingerprint)
        return outputs


def stop(directory: Path = DIRECTORY, *, say: Say = _say) -> bool:
    """Stop the cloud of `directory` so that it keeps its data; return whether one was running."""
    directory = directory.resolve()
    if not directory.exists():
        say("The local cloud is not running")
        return False
    with _only_one(directory, say):
        process = _running(directory)
        if process is None:
            say("The local cloud is not running")
            return False
        say("Stopping the local cloud; it writes its data to disk ...")
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _born(process.pid) == process.born:
            if time.monotonic() > deadline:
                raise LocalCloudError(f"The local cloud (process {process.pid}) did not stop in {STOP_SECONDS} s")
            time.sleep(0.1)
        # What is left of its process group are functions that it ran.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        (directory / "cloud.json").unlink(missing_ok=True)
        rmtree(directory / "tmp", ignore_errors=True)
        say("Stopped; the next run finds the data")
        return True


def status(directory: Path = DIRECTORY) -> Outputs | None:
    """Return the outputs of the cloud of `directory` if it is running and deployed."""
    process = _running(directory.resolve())
    file = directory / "outputs.json"
    return Outputs.read(file, _endpoint(process.port)) if process and file.exists() else None


def run(directory: Path = DIRECTORY, *, say: Say = _say) -> Outputs:
    """Do what `make run` does: the cloud, the stacks, a development client, and where everything is."""
    began = time.monotonic()
    outputs = ensure_running(directory, say=say)
    say("Registering the development client ...")
    subprocess.run([sys.executable, "-m", "ops.callers", "dev-client"], check=True, cwd=ROOT, env=_tool_env(outputs))
    say("")
    say(f"Ready after {time.monotonic() - began:.0f} s")
    say(f"  base URL              {outputs.base_url}")
    say(f"  client configuration  {(directory / 'client.json').relative_to(ROOT)}")
    say(f"  log of the cloud      {(directory / 'cloud.log').relative_to(ROOT)}")
    say("  next                  make demo")
    return outputs


# ---- the process ----


def _start(directory: Path, say: Say) -> _Process:
    claim = _claim(directory)
    port = _choose_port(directory)
    say(f"Starting the local cloud on port {port} ...")
    tmp = directory / "tmp"
    rmtree(tmp, ignore_errors=True)
    for needed in (tmp, directory / "state", directory / "s3"):
        needed.mkdir(parents=True, exist_ok=True)
    # Nothing of the developer's environment gets in: the functions would inherit it.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", str(directory)),
        "LANG": "C.UTF-8",
        "TMPDIR": str(tmp),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(directory / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(directory / "s3"),
        # Listeners on ports of their own that nothing here uses.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    log = directory / "cloud.log"
    with log.open("ab") as sink:
        child = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[claim],
        )
    os.close(claim)
    process = _Process(pid=child.pid, port=port, born=_born(child.pid) or "")
    (directory / "cloud.json").write_text(json.dumps(asdict(process)))
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(port):
        if child.poll() is not None:
            raise LocalCloudError(f"The local cloud ended at once; see {log}")
        if time.monotonic() > deadline:
            raise LocalCloudError(f"The local cloud does not answer after {START_SECONDS} s; see {log}")
        time.sleep(0.1)
    return process


def _claim(directory: Path) -> int:
    """Lock the directory's data; the cloud inherits the lock and holds it as long as it lives.

    Two clouds on one directory would each write all of it when they stop, over the other's.
    """
    claim = os.open(directory / "data.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(claim)
        raise LocalCloudError(
            f"A local cloud that this program does not know still uses {directory}: "
            "find it with `ps aux | grep ministack`, end it, and try again"
        ) from None
    return claim


def _running(directory: Path) -> _Process | None:
    """Return the recorded process if it lives, is the one we started, and answers."""
    try:
        process = _Process(**json.loads((directory / "cloud.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not process.born or _born(process.pid) != process.born:
        return None
    return process if _healthy(process.port, seconds=10) else None


def _born(pid: int) -> str | None:
    """Return when a process started, which with its pid is its identity; None if it is gone or a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            # The second field is the name in brackets, which may itself hold spaces and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(["ps", "-o", "lstart=,state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    *born, state = shown.stdout.split() or ["Z"]
    return None if state.startswith("Z") else " ".join(born)


def _healthy(port: int, *, seconds: float = 0) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        code, _ = _get(f"{_endpoint(port)}/_ministack/health", timeout=5)
        if code == 200 or time.monotonic() >= deadline:
            return code == 200
        time.sleep(0.2)


def _choose_port(directory: Path) -> int:
    """Keep the port of last time if it is free: the deployed stacks have it in their outputs."""
    remembered = directory / "port"
    first = 4566 if directory == DIRECTORY else 4600
    candidates = list(range(first, first + 34))
    if remembered.exists():
        candidates.insert(0, int(remembered.read_text()))
    for port in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        remembered.write_text(str(port))
        return port
    raise LocalCloudError(f"No free port between {first} and {candidates[-1]}; stop something and try again")


# ---- the deployment ----


def _deploy(directory: Path, endpoint: str, say: Say) -> None:
    cdk = ROOT / "node_modules" / ".bin" / "cdk"
    if which("node") is None:
        raise LocalCloudError("Node.js (20 or newer) is needed to deploy: install it and run this again")
    if not cdk.exists():
        raise LocalCloudError("The CDK command line is not installed: run `make setup`")
    environment = _cloud_env(endpoint)
    log = directory / "deploy.log"
    log.write_bytes(b"")
    say("Preparing the cloud for CDK ...")
    # Outside the project, so that bootstrapping does not synthesise the app first.
    _watched([str(cdk), "bootstrap", ENVIRONMENT], environment, directory, log, lambda _line: None)
    say("Deploying the stacks with CDK (the first time builds the layers) ...")

    def progress(line: str) -> None:
        if "✅" in line:
            say(f"  {line.strip().lstrip('✅').strip()}")

    command = [
        *(str(cdk), "deploy", "--all", "--require-approval", "never", "--no-notices"),
        *("-c", "local=true", "-c", f"local_endpoint={endpoint}"),
        *("--output", str(directory / "cdk.out"), "--outputs-file", str(directory / "outputs.json")),
    ]
    _watched(command, environment, ROOT, log, progress)


def _watched(command: list[str], environment: dict[str, str], cwd: Path, log: Path, progress: Say) -> None:
    with (
        log.open("a") as sink,
        subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            sink.write(line)
            progress(line)
    if child.returncode != 0:
        last = "\n".join(log.read_text().splitlines()[-30:])
        raise LocalCloudError(f"{last}\n\nDeploying failed; the whole story is in {log}")


def _fingerprint(endpoint: str) -> str:
    digest = hashlib.sha256(endpoint.encode())
    for name in INGREDIENTS:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{file.relative_to(ROOT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _deployed(endpoint: str) -> str | None:
    """Return the fingerprint of what is deployed.

    It is kept in the cloud and not beside it: after a crash the cloud comes back as it was when it last stopped, and
    the fingerprint must go back with it.
    """
    try:
        return str(_parameters(endpoint).get_parameter(Name=FINGERPRINT)["Parameter"]["Value"])
    except ClientError:
        return None


def _remember_deployed(endpoint: str, fingerprint: str) -> None:
    _parameters(endpoint).put_parameter(Name=FINGERPRINT, Value=fingerprint, Type="String", Overwrite=True)


def _parameters(endpoint: str) -> Any:
    given = local_credentials(endpoint)
    session: Any = boto3.Session(given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], region_name=LOCAL_REGION)
    return session.client("ssm", endpoint_url=endpoint)


def _answers(outputs: Outputs, *, seconds: float) -> bool:
    """Whether a function answers behind the gateway: without a token, with an error of the contract."""
    deadline = time.monotonic() + seconds
    while True:
        code, body = _get(f"{outputs.base_url}/data/core/ups/access/entities", timeout=30)
        if code < 500 and isinstance(body, dict) and body.get("message") != "Not Found":
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)


# ---- odds and ends ----


def _endpoint(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _cloud_env(endpoint: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
    return {
        **kept,
        **local_credentials(endpoint),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "18,20,22",
    }


def _tool_env(outputs: Outputs) -> dict[str, str]:
    assert outputs.endpoint_url is not None
    return {**_cloud_env(outputs.endpoint_url), **outputs.environment()}


def _get(url: str, *, timeout: float) -> tuple[int, Any]:
    """GET without proxies; the status and the JSON body, (599, None) when there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, _json(error.read())
    except OSError:
        return 599, None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@contextmanager
def _only_one(directory: Path, say: Say) -> Iterator[None]:
    """Hold the directory's lock: two `make run` at once must not deploy twice."""
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another run to finish ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m ops.local_cloud", description="The local cloud")
    parser.add_argument("command", choices=["run", "stop", "status"])
    command = parser.parse_args(arguments).command
    try:
        if command == "run":
            run()
        elif command == "stop":
            stop()
        else:
            outputs = status()
            _say(outputs.base_url if outputs else "The local cloud is not running")
    except LocalCloudError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"\n`{' '.join(map(str, error.cmd))}` failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
