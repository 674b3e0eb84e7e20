"""Amplitude's Python SDK, as a service would use it. Prints one JSON object; see ../README.md."""

import json
import logging
import os
import sys
import threading
import urllib.request
from importlib.metadata import version

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify, Revenue

SDK = "amplitude-analytics"
DEADLINE_SECONDS = 60
PERSON = {"user_id": "python-user-1", "device_id": "python-device-1"}


class Statuses(urllib.request.BaseHandler):
    """The status of each answer that the SDK got, in order."""

    handler_order = 0

    def __init__(self):
        self.seen = []

    def http_response(self, _request, response):
        self.seen.append(response.status)
        return response


class Outcomes:
    """What the SDK told its caller about each event, in the order in which it did."""

    def __init__(self):
        self.results = []
        self.changed = threading.Condition()

    def __call__(self, event, code, message=None):
        with self.changed:
            self.results.append(
                {"event_type": event.event_type, "user_id": event.user_id, "code": code, "message": message}
            )
            self.changed.notify_all()

    def wait_for(self, count):
        """Returns once `count` events have an outcome."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.results) >= count, DEADLINE_SECONDS):
                raise TimeoutError(f"{len(self.results)} of {count} outcomes after {DEADLINE_SECONDS} s")
            return list(self.results)


def client(key=None, **options):
    outcomes = Outcomes()
    quiet = logging.getLogger("isthmus-test")
    quiet.setLevel(logging.ERROR)
    settings = {"logger": quiet, **options}
    config = Config(server_url=os.environ["ISTHMUS_URL"], callback=outcomes, **settings)
    return Amplitude(key or os.environ["ISTHMUS_API_KEY"], config), outcomes


def track_together(events, **options):
    """Tracks `events` so that all are in the first request; what is resent follows soon."""
    amplitude, outcomes = client(flush_queue_size=len(events), flush_interval_millis=30_000, **options)
    for event in events[:-1]:
        amplitude.track(event)
    # The queue is full with the last one and goes out at once. Later rounds wait this long.
    amplitude.configuration.flush_interval_millis = 50
    amplitude.track(events[-1])
    return outcomes


def viewed(user, product):
    return BaseEvent("Product Viewed", user_id=user, event_properties={"product": product})


def full():
    # One flush at the end, so that all go in one request in this order.
    amplitude, outcomes = client(flush_interval_millis=30_000)
    person = EventOptions(**PERSON)
    first = Identify()
    first.set("plan", "free").set("seats", 1).set("beta", True).set("scratch", "soon gone").set("tags", ["new"])
    first.set_once("first_plan", "free")
    second = Identify()
    second.set("plan", "pro").add("seats", 4).append("tags", "vip").unset("scratch").set_once("first_plan", "pro")
    # One operation per property is all that an Identify takes.
    more = [
        Identify().post_insert("tags", "vip").prepend("badges", "gold"),
        Identify().pre_insert("tags", "early"),
        Identify().remove("tags", "new"),
    ]
    company = Identify()
    company.set("tier", "gold")

    amplitude.identify(first, person)
    kettle = {"product": "kettle", "price": 39.5, "in_stock": True}
    amplitude.track(BaseEvent("Product Viewed", event_properties=kettle, **PERSON))
    amplitude.identify(second, person)
    for each in more:
        amplitude.identify(each, person)
    amplitude.set_group("company", "Acme", person)
    amplitude.group_identify("company", "Acme", company)
    ordered = {"total": 84.5, "items": 3, "gift": False, "currency": "EUR", "coupons": ["A", "B"], "internal_ref": "x"}
    amplitude.track(BaseEvent("Order Completed", event_properties=ordered, groups={"company": "Acme"}, **PERSON))
    amplitude.track(BaseEvent("Not Selected", event_properties={"total": 1}, **PERSON))
    amplitude.revenue(Revenue(price=12.5, quantity=2, product_id="kettle", revenue_type="sale"), person)
    amplitude.flush()
    return {"results": outcomes.wait_for(11)}


def wrong_key():
    """The SDK logs a wrong key and drops the batch without a callback, so the log is what there is to see."""
    seen = []
    noticed = threading.Event()

    class Listen(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())
            noticed.set()

    logger = logging.getLogger("isthmus-test-wrong-key")
    logger.addHandler(Listen())
    logger.propagate = False
    amplitude, outcomes = client("no-such-key", logger=logger, flush_interval_millis=50)
    amplitude.track(BaseEvent("Product Viewed", **PERSON))
    if not noticed.wait(DEADLINE_SECONDS):
        raise TimeoutError("the SDK said nothing about the key")
    return {"results": outcomes.results, "log": seen}


def bad_among_good():
    people = ["python-good-1", "python-good-2", "ab", "python-good-3", "python-good-4"]
    return {"results": track_together([viewed(user, user) for user in people]).wait_for(5)}


def split():
    events = [viewed(f"python-split-{at % 100}", str(at)) for at in range(2_001)]
    return {"results": track_together(events).wait_for(2_001)}


def throttled():
    """The events of a too busy user wait 30 s inside the SDK; those of the others are resent at once."""
    busy = [viewed("python-busy", str(at)) for at in range(100)]
    calm = [viewed(f"python-calm-{at}", str(at)) for at in range(5)]
    return {"results": track_together(busy + calm).wait_for(5)}


SCENARIOS = {
    "full": full,
    "wrong-key": wrong_key,
    "bad-among-good": bad_among_good,
    "split": split,
    "throttled": throttled,
}


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "full"
    statuses = Statuses()
    urllib.request.install_opener(urllib.request.build_opener(statuses))
    outcome = {**SCENARIOS[name](), "statuses": statuses.seen}
    print(json.dumps({"sdk": SDK, "version": version(SDK), "scenario": name, **outcome}), flush=True)


def give_up():
    print(f"not finished after {DEADLINE_SECONDS} s", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    deadline = threading.Timer(DEADLINE_SECONDS + 5, give_up)
    deadline.daemon = True
    deadline.start()
    try:
        main()
    except BaseException:
        logging.exception("scenario failed")
        os._exit(1)
    # Without the SDK's own flush at exit, which would send again what is meant to wait.
    os._exit(0)
