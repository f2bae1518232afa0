"""Real Apache Kafka for the tests: fetched by Maven, started on free ports, stopped by its pid.

Nothing here imitates a broker. ``cluster(...)`` starts one or three brokers of one version in their
own process group and temporary folder; ``KAFKA_BOOTSTRAP`` uses one that already runs instead. A
test that needs one and can have neither Java nor Maven is skipped by name; with ``CI=true`` that is
a failure, because a pipeline that silently tests nothing is worse than a red one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: version -> the log backend that Kafka's own POM leaves out.
LOG_BACKEND = {"3.9.1": "slf4j-reload4j", "4.1.0": "slf4j-simple"}
DEFAULT_VERSION = os.environ.get("ANDON_TEST_KAFKA", "4.1.0")
READY_SECONDS = 90.0
PASSWORD = "s3cret-of-the-tests"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>andon.tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{version}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>{backend}</artifactId>
<version>1.7.36</version></dependency></dependencies></project>"""


@dataclass(slots=True)
class Broker:
    """One broker process: where it listens and how to hurt it."""

    node: int
    port: int
    folder: Path
    libraries: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start (again) on the same port and folder; returns at once."""
        with (self.folder / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                 f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}",
                 "-cp", f"{self.libraries}/*", "kafka.Kafka",
                 str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,
            )

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group (SIGSTOP and SIGCONT included)."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self, seconds: float = 20.0) -> None:
        """Shut down in order; kill if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class Cluster:
    """Brokers that belong together, and what a client must say to reach them."""

    brokers: list[Broker]
    bootstrap: str
    client: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments that every kafka-python client needs (security); empty for plaintext."""
    folder: Path | None = None

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Ready means: cluster described, a topic made and deleted, a coordinator found."""
        from kafka import KafkaAdminClient
        from kafka.admin import NewTopic
        from kafka.errors import KafkaError

        end = time.monotonic() + seconds
        last: Exception | None = None
        while time.monotonic() < end:
            for broker in self.brokers:
                if broker.process is not None and broker.process.poll() is not None:
                    text = (broker.folder / "out.log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"broker {broker.node} ended while starting:\n{text}")
            try:
                admin = KafkaAdminClient(
                    bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=3000, **self.client)
            except (KafkaError, OSError) as error:
                last = error
                time.sleep(0.3)
                continue
            try:
                if len(admin.describe_cluster()["brokers"]) >= max(1, len(self.brokers)):
                    name = f"ready-{uuid.uuid4().hex[:8]}"
                    admin.create_topics(
                        [NewTopic(name, 1, min(3, max(1, len(self.brokers))))], timeout_ms=10_000)
                    admin.delete_topics([name], timeout_ms=10_000)
                    self._find_coordinator(name)
                    return
            except (KafkaError, OSError, KeyError) as error:
                last = error
            finally:
                admin.close()
            time.sleep(0.3)
        raise RuntimeError(f"Kafka did not become ready in {seconds} s: {last!r}")

    def create_topic(
        self, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic, replicated as far as the cluster allows, and wait for its leaders."""
        from kafka import KafkaAdminClient
        from kafka.admin import NewTopic

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, **self.client)
        try:
            admin.create_topics(
                [NewTopic(name, partitions, min(3, max(1, len(self.brokers))),
                          topic_configs=dict(settings or {}))], timeout_ms=15_000)
        finally:
            admin.close()

    def stop(self) -> None:
        """End every broker and remove the folder; nothing is needed again, so no farewells."""
        for broker in self.brokers:
            broker.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _find_coordinator(self, name: str) -> None:
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=name, enable_auto_commit=False,
            **self.client)
        try:
            consumer.committed(TopicPartition("__consumer_offsets", 0), timeout_ms=10_000)
        finally:
            consumer.close()


def libraries(version: str) -> Path:
    """Folder with Kafka's jars, fetched once into the cache.

    Raises
    ------
    FileNotFoundError
        No Java or no Maven.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise FileNotFoundError(program)
    cache = Path(os.environ.get("ANDON_TEST_CACHE", ROOT / ".cache"))
    target = cache / f"kafka-{version}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        folder = Path(temporary)
        (folder / "pom.xml").write_text(
            _POM.format(version=version, backend=LOG_BACKEND[version]))
        subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={folder / 'libs'}"],
            cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
        with contextlib.suppress(OSError):  # another test run was faster
            (folder / "libs").rename(target)
    return target


def cluster(
    version: str = DEFAULT_VERSION, brokers: int = 1, security: str = "PLAINTEXT",
    settings: Mapping[str, str] | None = None,
) -> Cluster:
    """Start brokers and wait until they are ready; the caller stops them.

    ``security``: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (SCRAM-SHA-512, user ``andon``).
    """
    jars = libraries(version)
    folder = Path(tempfile.mkdtemp(prefix="andon-kafka-"))
    ports = free_ports(2 * brokers)
    listen, control = ports[:brokers], ports[brokers:]
    secrets = _secrets(folder) if security.endswith("SSL") else {}
    started = []
    identity = _storage(jars, "random-uuid").strip()
    voters = ",".join(f"{n + 1}@127.0.0.1:{control[n]}" for n in range(brokers))
    for n in range(brokers):
        home = folder / f"broker-{n + 1}"
        home.mkdir()
        lines = _properties(n + 1, listen[n], control[n], home, brokers, security, voters)
        lines |= secrets | dict(settings or {})
        (home / "server.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in lines.items()))
        (home / "log4j.properties").write_text(
            "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.out.layout.ConversionPattern=%d %p %c %m%n\n")
        scram = (["--add-scram", f"SCRAM-SHA-512=[name=andon,password={PASSWORD}]"]
                 if security.startswith("SASL") else [])
        _storage(jars, "format", "-t", identity, "-c", str(home / "server.properties"), *scram)
        started.append(Broker(n + 1, listen[n], home, jars))
    for broker in started:
        broker.start()
    bootstrap = ",".join(f"127.0.0.1:{port}" for port in listen)
    if security.endswith("SSL"):
        bootstrap = bootstrap.replace("127.0.0.1", "localhost")  # the certificate's name
    made = Cluster(started, bootstrap, _client(security, folder), folder)
    try:
        made.wait_until_ready()
    except BaseException:
        made.stop()
        raise
    return made


@functools.cache
def _shared() -> Cluster | str:
    running = os.environ.get("KAFKA_BOOTSTRAP")
    if running:
        return Cluster([], running)
    try:
        made = cluster()
    except FileNotFoundError as error:
        return f"needs a Kafka broker, and {error} cannot be had here"
    atexit.register(made.stop)
    return made


def shared() -> Cluster:
    """One broker for all tests of a run; skips by name where there can be none."""
    found = _shared()
    if isinstance(found, str):
        unavailable(found)
    assert isinstance(found, Cluster)
    return found


def fresh(
    version: str = DEFAULT_VERSION, brokers: int = 1, security: str = "PLAINTEXT",
    settings: Mapping[str, str] | None = None,
) -> Cluster:
    """A cluster of one's own, to be hurt; skips by name where there can be none."""
    try:
        return cluster(version, brokers, security, settings)
    except FileNotFoundError as error:
        unavailable(f"needs its own Kafka broker, and {error} cannot be had here")
        raise


def unavailable(reason: str) -> None:
    """Skip by name; fail where a pipeline promised that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, on the loopback address."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _storage(jars: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "kafka.tools.StorageTool",
         *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"StorageTool {arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout.splitlines()[-1] if done.stdout else ""


def _properties(
    node: int, port: int, control: int, home: Path, brokers: int, security: str, voters: str
) -> dict[str, str]:
    host = "localhost" if security.endswith("SSL") else "127.0.0.1"
    replicas = str(min(3, brokers))
    least = str(2 if brokers >= 3 else 1)
    lines = {
        "process.roles": "broker,controller", "node.id": str(node),
        "controller.quorum.voters": voters,
        "listeners": f"CLIENT://{host}:{port},CONTROLLER://127.0.0.1:{control}",
        "advertised.listeners": f"CLIENT://{host}:{port}",
        "listener.security.protocol.map": f"CLIENT:{security},CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "CLIENT",
        "log.dirs": str(home / "data"),
        "offsets.topic.replication.factor": replicas, "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.min.isr": least, "min.insync.replicas": least,
        "default.replication.factor": replicas, "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
    }
    if security.startswith("SASL"):
        jaas = ("org.apache.kafka.common.security.scram.ScramLoginModule required "
                f'username="andon" password="{PASSWORD}";')
        lines |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": jaas,
        }
    return lines


def _secrets(folder: Path) -> dict[str, str]:
    """A certificate authority of its own and the broker's certificate for ``localhost``, as PEM."""
    if shutil.which("openssl") is None:
        raise FileNotFoundError("openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True,
                       stdin=subprocess.DEVNULL, timeout=60)

    for name in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                f"/CN={name} of the tests", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "broker.key", "-out", "broker.csr")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=andon",
            "-keyout", "client.key", "-out", "client.csr")
    sign(folder, "broker", "ca")
    sign(folder, "client", "ca")
    key = (folder / "broker.key").read_text()
    (folder / "store.pem").write_text(key + (folder / "broker.pem").read_text())
    return {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(folder / "store.pem"),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(folder / "ca.pem"),
        "ssl.endpoint.identification.algorithm": "",
    }


def sign(folder: Path, who: str, authority: str, days: tuple[int, int] = (-1, 2)) -> None:
    """A certificate ``who.pem`` for ``localhost``, good from so many days from now to so many."""
    first, last = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * 86_400))
                   for day in days)
    (folder / "index").write_text("")
    (folder / "sign.cnf").write_text("""[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = DNS:localhost
""")
    subprocess.run(
        ["openssl", "ca", "-batch", "-notext", "-config", "sign.cnf", "-in", f"{who}.csr",
         "-cert", f"{authority}.pem", "-keyfile", f"{authority}.key", "-out", f"{who}.pem",
         "-startdate", first, "-enddate", last],
        cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def _client(security: str, folder: Path) -> dict[str, Any]:
    if security == "PLAINTEXT":
        return {}
    said: dict[str, Any] = {"security_protocol": security}
    if security.endswith("SSL"):
        said |= {"ssl_cafile": str(folder / "ca.pem"), "ssl_certfile": str(folder / "client.pem"),
                 "ssl_keyfile": str(folder / "client.key")}
    if security.startswith("SASL"):
        said |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "andon",
                 "sasl_plain_password": PASSWORD}
    return said


def wait_for(condition: Any, seconds: float, what: str) -> None:
    """Poll a condition; a ``TimeoutError`` names what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not happen within {seconds} s")


def versions() -> Sequence[str]:
    """Every version that is tried."""
    return tuple(LOG_BACKEND)
