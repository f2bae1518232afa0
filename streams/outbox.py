"""Alerts out of the house: a webhook that is retried until it works, and survives a restart.

The alerts topic itself is the outbox. Only committed alerts are in it, and this consumer group's
offset moves on when the receiver has answered, so nothing is lost by a crash on either side; after
one the last alert may be delivered again, with the same id. Runs on a thread of its own with one
alert in flight: a slow receiver delays its own alerts and nothing else. The address comes from the
settings, never from a message.
"""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError
from kafka.structs import OffsetAndMetadata

from streams.kafka_settings import KafkaSettings, WebhookSettings, read_secret

#: Longest wait for the try that is under way when the service stops.
CLOSE_SECONDS = 2.0
#: Answers that no repetition changes: the receiver understood and refuses (but not 408, 425, 429).
_FINAL = frozenset(range(400, 500)) - {401, 403, 404, 408, 425, 429}


class Outbox:
    """Delivers the alerts topic to a webhook.

    Attributes
    ----------
    delivered, refused, failed : int
        Alerts that were taken; that the receiver refused for good; tries that failed.
    """

    def __init__(
        self, options: Mapping[str, Any], kafka: KafkaSettings, webhook: WebhookSettings,
        say: Callable[[str], None],
    ) -> None:
        self.delivered = self.refused = self.failed = 0
        self._options, self._kafka, self._webhook, self._say = dict(options), kafka, webhook, say
        self._token = (read_secret(webhook.token_file, "webhook.token_file")
                       if webhook.token_file else "")
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context()))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is left, and a try that hangs, is for the next start."""
        self._done.set()
        self._thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._deliver_all()
            except (KafkaError, OSError) as error:
                self._say(f"webhook: the alerts topic cannot be read: {type(error).__name__}")
                self._done.wait(random.uniform(2.0, 5.0))

    def _deliver_all(self) -> None:
        options = {k: v for k, v in self._options.items() if k != "client_id"}
        consumer = KafkaConsumer(
            self._kafka.alerts_topic, group_id=f"{self._kafka.group}-webhook",
            enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest", max_poll_records=50, max_poll_interval_ms=300_000,
            session_timeout_ms=round(self._kafka.session_seconds * 1000),
            heartbeat_interval_ms=max(100, round(self._kafka.session_seconds * 200)),
            partition_assignment_strategy=[CooperativeStickyAssignor()], **options)
        try:
            while not self._done.is_set():
                for place, records in consumer.poll(500).items():
                    if not self._deliver(consumer, place, records):
                        break
        finally:
            consumer.close(autocommit=False, timeout_ms=2000)

    def _deliver(self, consumer: Any, place: TopicPartition, records: list[Any]) -> bool:
        """Deliver in order; False where the place was taken away or the service stops."""
        for record in records:
            if self._wanted(record) and not self._insist(consumer, place, record):
                return False
            try:
                consumer.commit({place: OffsetAndMetadata(record.offset + 1, "", -1)})
            except CommitFailedError:
                return False
        return True

    def _insist(self, consumer: Any, place: TopicPartition, record: Any) -> bool:
        """Try until the receiver takes it; the group is kept up meanwhile, nothing is fetched."""
        pause = 0.2
        while not self._done.is_set():
            if self._post(record):
                return True
            end = time.monotonic() + pause * random.uniform(0.5, 1.0)
            consumer.pause(*consumer.assignment())
            while time.monotonic() < end and not self._done.is_set():
                consumer.poll(200)
                if place not in consumer.assignment():
                    return False
            consumer.resume(*consumer.assignment())
            pause = min(2 * pause, self._webhook.retry_seconds)
        return False

    def _wanted(self, record: Any) -> bool:
        head = dict(record.headers or ())
        kind = head.get("ce_type", b"").decode(errors="replace")
        return (kind.removeprefix("andon.alert.") in self._webhook.states
                and b"andon_shelved" not in {k.encode() for k in head})

    def _post(self, record: Any) -> bool:
        """One try; True where the receiver took it, or refused it for good."""
        headers = {"Content-Type": "application/json"}
        for name, value in record.headers or ():
            if name.startswith("ce_") or name in ("severitytext", "severitynumber"):
                key = name.replace("ce_", "ce-")
                headers[key] = urllib.parse.quote(value.decode(errors="replace"), safe=" :/.+-_")
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(
            self._webhook.url, data=record.value, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._webhook.timeout_seconds) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _FINAL:
                self.refused += 1
                self._say(f"webhook: an alert was refused for good ({error.code})")
                return True
            self.failed += 1
            return False
        except (OSError, http.client.HTTPException):
            self.failed += 1
            return False
        self.delivered += 1
        return True


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer cannot send our alerts (and token) elsewhere."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None
