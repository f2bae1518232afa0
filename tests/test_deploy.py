"""What is shipped to be deployed: each file checked by the tool that knows its form, where it is.

No container engine and no cluster run here; what is inside the container runs in the other tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomaly import config as engine
from streams import settings
from tests import kafka_broker
from tests.needed import needs_packages, needs_programs, program

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "deploy"
CHART = HOME / "helm" / "andon"
PORT = 9464
#: Helm itself, as a library: its own Go packages in a wheel.
needs_helm = needs_packages("helm_python")


def run(name: str, *arguments: str, **options: Any) -> str:
    done = subprocess.run([program(name) or name, *arguments], capture_output=True, text=True,
                          check=False, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- settings -------------------------------------------------------------------------------------


def test_the_example_settings_have_no_findings() -> None:
    assert settings.findings(HOME / "andon.toml", {}) == []


def test_every_commented_setting_exists_and_shows_its_default(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (\[[\w.]+\]|\w+ = .*)$", r"\1", (HOME / "andon.toml").read_text())
    everything = tmp_path / "andon.toml"
    everything.write_text(text.replace("/etc/andon/", f"{tmp_path}/"))
    loaded = settings.load(everything, {}, {})
    plain = engine.parse({"budget": "1/week"})
    assert loaded.monitor.warm_up_rows == plain.warm_up_rows
    assert loaded.monitor.language == plain.language
    assert loaded.monitor.alert == plain.alert
    kafka = settings.KafkaSettings()
    for name in ("checkpoint_seconds", "asset_limit", "tag_limit"):
        assert f"\n{name} = " in text
        assert getattr(loaded.kafka, name) == getattr(kafka, name)


def test_a_typo_in_the_example_would_be_found(tmp_path: Path) -> None:
    broken = tmp_path / "andon.toml"
    broken.write_text((HOME / "andon.toml").read_text().replace("bootstrap_servers", "bootstrap"))
    assert any("kafka.bootstrap" in finding for finding in settings.findings(broken, {}))


# -- container and compose ------------------------------------------------------------------------


#: kafka-python leaves sockets to the garbage collector.
quiet_client = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@needs_programs("hadolint")
def test_hadolint_has_nothing_to_say() -> None:
    assert run("hadolint", str(HOME / "Containerfile")) == ""


def test_the_container_is_not_root_and_copies_only_what_it_needs() -> None:
    text = (HOME / "Containerfile").read_text()
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER 10001:10001$", last)
    assert last.index("USER ") < last.index("ENTRYPOINT")
    copied = set(re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text))
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    admitted = set(re.findall(r"(?m)^!(\S+)$", (HOME / "Containerfile.dockerignore").read_text()))
    assert names == admitted


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((HOME / "compose.yml").read_text()))


def compose_findings(path: Path) -> str:
    done = subprocess.run(
        [program("check-jsonschema") or "check-jsonschema", "--builtin-schema",
         "vendor.compose-spec", str(path)],
        capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@needs_programs("check-jsonschema")
def test_the_compose_file_keeps_to_the_specification(tmp_path: Path) -> None:
    assert compose_findings(HOME / "compose.yml") == ""
    wrong = tmp_path / "compose.yml"
    wrong.write_text((HOME / "compose.yml").read_text().replace("image:", "imagge:", 1))
    assert "imagge" in compose_findings(wrong)


def test_the_compose_file_names_what_exists_and_opens_nothing_to_the_world() -> None:
    composed = compose()
    services = composed["services"]
    assert {"kafka", "andon", "simulator", "prometheus", "alertmanager", "grafana"} <= set(services)
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (HOME / source).exists(), volume
                assert volume.endswith(":ro"), volume
            else:
                assert source in composed["volumes"], volume
        for other in service.get("depends_on", ()):
            assert other in services
        assert "no-new-privileges:true" in service["security_opt"]
        assert service.get("image", "").count(":latest") == 0
        if name not in ("kafka", "topics"):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
    used = settings.load(HOME / "andon.toml", {}, {})
    assert f"127.0.0.1:{PORT}:{used.health.port}" in services["andon"]["ports"]
    assert used.kafka.topic in services["topics"]["command"]
    assert used.kafka.topic in services["simulator"]["command"]


def test_prometheus_scrapes_what_andon_serves() -> None:
    scraped = yaml.safe_load((HOME / "prometheus" / "prometheus.yml").read_text())
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == [f"andon:{PORT}"]
    board = compose()["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (HOME / "grafana" / "dashboards" / Path(board).name).exists()
    provider = yaml.safe_load(
        (HOME / "grafana" / "provisioning" / "dashboards" / "andon.yml").read_text())
    assert provider["providers"][0]["options"]["path"] == str(Path(board).parent)


@needs_programs("amtool")
def test_alertmanager_accepts_its_configuration() -> None:
    run("amtool", "check-config", str(HOME / "alertmanager" / "alertmanager.yml"))


def test_alertmanager_routes_alerts_that_exist() -> None:
    rules = yaml.safe_load((HOME / "prometheus" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    text = (HOME / "alertmanager" / "alertmanager.yml").read_text()
    named = set(re.findall(r"Andon\w+", text))
    assert named
    assert named <= alerts


# -- systemd --------------------------------------------------------------------------------------


@needs_programs("systemd-analyze")
def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / "andon.service"
    text = (HOME / "systemd" / "andon.service").read_text()
    unit.write_text(text.replace("/opt/andon/bin/andon", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.stderr == ""
    shown = run("systemd-analyze", "security", "--offline=true", str(unit))
    level = re.search(r"exposure level for \S+: ([\d.]+)", shown)
    assert level is not None
    assert float(level[1]) <= 2.0
    assert "RestartPreventExitStatus=2 78" in text


# -- Kubernetes -----------------------------------------------------------------------------------

#: Custom resources that the validator's schemas do not know.
CUSTOM = {"ScaledObject", "PodMonitor"}
EVERYTHING = ("keda.enabled=true,keda.authentication=kafka,podMonitor.enabled=true,"
              "existingSecret=passwords,cache.storageClass=fast,nodeSelector.disk=ssd")


def rendered(values: str = "") -> list[dict[str, Any]]:
    """What Helm makes of the chart; values as after ``--set``."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        texts = chart.render(helm_python.parse_set_string(values), name="line-1")
    return [document for text in texts.values() for document in yaml.safe_load_all(text)
            if document]


@needs_helm
def test_helm_lints_the_chart() -> None:
    import helm_python

    found = helm_python.lint(str(CHART), strict=True, kube_version="1.29.0")
    assert found["errors"] == []
    assert [said["error"] for said in found["messages"]] == ["icon is recommended"]


@needs_helm
def test_a_broken_chart_does_not_pass(tmp_path: Path) -> None:
    import helm_python

    shutil.copytree(CHART, tmp_path / "andon")
    service = tmp_path / "andon" / "templates" / "service.yaml"
    service.write_text(service.read_text().replace("metadata:", "metadata: [", 1))
    found = helm_python.lint(str(tmp_path / "andon"), strict=True, kube_version="1.29.0")
    assert found["errors"]
    assert found["messages"][-1]["path"] == "templates/service.yaml"


@needs_helm
@needs_packages("kubernetes_validate")
@pytest.mark.parametrize("values", ["", EVERYTHING])
def test_what_helm_renders_is_what_kubernetes_knows(values: str) -> None:
    import kubernetes_validate

    documents = rendered(values)
    kinds = {document["kind"] for document in documents}
    assert {"StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget"} <= kinds
    assert (kinds >= CUSTOM) == bool(values)
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.29", strict=True)


@needs_helm
def test_the_pods_are_locked_down_and_the_settings_inside_are_good(tmp_path: Path) -> None:
    by_kind = {document["kind"]: document for document in rendered(EVERYTHING)}
    spec = by_kind["StatefulSet"]["spec"]["template"]["spec"]
    container, = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]}}
    assert "replicas" not in by_kind["StatefulSet"]["spec"]  # KEDA's own
    assert by_kind["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == "line-1"
    file = tmp_path / "andon.toml"
    file.write_text(by_kind["ConfigMap"]["data"]["andon.toml"])
    names = {entry["name"]: "andon-0" for entry in container["env"]}
    assert settings.findings(file, names) == []
    loaded = settings.load(file, {}, names)
    assert loaded.kafka.worker == "andon-0"
    trigger = by_kind["ScaledObject"]["spec"]["triggers"][0]["metadata"]
    assert (trigger["topic"], trigger["consumerGroup"]) == (loaded.kafka.topic, loaded.kafka.group)
    assert loaded.health.port == container["ports"][0]["containerPort"] == PORT


@needs_helm
def test_a_wrong_value_is_refused() -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match="replica"):
        rendered("replica=3")


@needs_packages("jsonschema")
def test_the_default_values_keep_to_the_schema() -> None:
    import jsonschema

    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"replica": 3}, schema)
    inside = tomllib.loads(values["settings"])
    assert values["keda"]["topic"] == inside["kafka"]["topic"]
    assert values["keda"]["group"] == inside["kafka"]["group"]


# -- the simulated plant --------------------------------------------------------------------------


@quiet_client[0]
@quiet_client[1]
def test_the_simulated_plant_reaches_kafka_in_a_form_that_andon_reads() -> None:
    cluster = kafka_broker.shared()
    from kafka import KafkaConsumer, TopicPartition

    from anomaly.registry import Registry
    from streams.kafka_codec import Decoder
    from streams.message_fields import Fields

    topic = "simulated.readings"
    cluster.create_topic(topic)
    run(sys.executable, str(HOME / "simulator.py"), "--bootstrap", cluster.bootstrap, "--topic",
        topic, "--speed", "1e9", "--shifts", "1", env={**os.environ, "PYTHONPATH": str(ROOT)})
    consumer = KafkaConsumer(bootstrap_servers=cluster.bootstrap, enable_auto_commit=False)
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        decoder = Decoder(Registry(), Fields("asset", "sensor", "ts", "value", "values"))
        end, seen = consumer.end_offsets([place])[place], 0
        assert end == 8 * 1800 * 5  # eight hours, a row in two seconds, five stations
        while seen < 5000:
            for records in consumer.poll(2000).values():
                seen += len(records)
                assert not [dead for decoded in decoder.decode(records) for dead in decoded.dead]
    finally:
        consumer.close()
    assert len(decoder.registry.assets) == 5
    assert len(list(decoder.units)) == 1
