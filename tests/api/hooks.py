"""What the requests need beside what the document says."""

import random

import schemathesis

DICE = random.Random(1)

# Parameters that may come from any source.
FROM_ANYWHERE = {"level", "message", "logs", "since", "until", "contains", "regex", "client", "key", "limit", "order"}
FROM_ANYWHERE |= {"cursor", "output"}


@schemathesis.hook
def before_call(context, case, kwargs):
    # Each request has an address of its own: ten wrong root passwords within a minute lock one out.
    case.headers["X-Real-IP"] = f"198.18.{DICE.randrange(256)}.{DICE.randrange(256)}"
    if case.meta is not None:
        open_the_door(case)
        let_the_wrong_one_count(case)


def open_the_door(case):
    """The body is the strongest source: secrets that it makes up would hide the good ones of the headers, and behind
    the door is most of what there is to test."""
    mode = next((data.mode for location, data in case.meta.components.items() if location.value == "body"), None)
    if isinstance(case.body, dict) and mode is not None and mode.is_positive and DICE.random() < 0.9:
        for name in ("api_key", "root_pass"):
            case.body.pop(name, None)


def let_the_wrong_one_count(case):
    """A parameter that is wrong on purpose must not stand in the shade of a good one from a stronger source."""
    sources = {
        "query": case.query,
        "header": case.headers,
        "body": case.body if isinstance(case.body, dict) else {},
    }
    modes = {location.value: data.mode for location, data in case.meta.components.items()}
    wrong = {source for source in sources if source in modes and modes[source].is_negative}
    names = {name.lower() for source in wrong for name in sources[source] or ()}
    for source in sources.keys() - wrong:
        for name in [name for name in sources[source] or () if name.lower() in names & FROM_ANYWHERE]:
            del sources[source][name]
