"""Two workers with one name: the later works, the earlier stops and says why."""

from __future__ import annotations

import pytest

from tests import kafka_broker, live_service
from tests.live_service import deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_the_earlier_of_two_workers_with_one_name_stops_and_says_why() -> None:
    """While nothing comes in, so that no transaction tells it."""
    rows = list(live_service.stream(5000, 12, 37))
    with deployment(kafka_broker.shared(), 3, kafka='worker = "hall-1"\n') as deployed:
        live_service.send(deployed, rows[:2500])
        earlier = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        later = deployed.start_worker()
        kafka_broker.wait_for(lambda: earlier.poll() is not None, 60, "the earlier one's end")
        assert earlier.returncode == 1, deployed.logs()
        assert "was started with our name" in deployed.logs(), deployed.logs()
        assert "Traceback" not in deployed.logs()
        live_service.send(deployed, rows[2500:])
        live_service.wait_until_done(deployed, 60)
        assert later.poll() is None
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)
