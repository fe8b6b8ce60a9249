"""Completes the requests that Schemathesis makes from the document."""

import random

import schemathesis

DICE = random.Random(1)

# Parameters that the server takes from query, headers and body.
FROM_ANY_SOURCE = {"level", "message", "logs", "since", "until", "contains", "regex", "client", "key", "limit", "order"}
FROM_ANY_SOURCE |= {"cursor", "output"}


@schemathesis.serializer("application/vnd.serilog.clef", "application/vnd.fdo.journal", "application/x-protobuf")
def as_bytes(context, value):
    """Sends a body of a type that Schemathesis does not know as it was generated."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    # Each request gets an address of its own: ten wrong root passwords within a minute lock an address out.
    case.headers["X-Real-IP"] = f"198.18.{DICE.randrange(256)}.{DICE.randrange(256)}"
    if case.meta is not None:
        keep_valid_secrets(case)
        expose_invalid_parameters(case)


def keep_valid_secrets(case):
    """Removes generated secrets from most bodies. The body has precedence over the headers, so a generated secret
    would replace the valid one and the request would not get past authentication."""
    mode = next((data.mode for location, data in case.meta.components.items() if location.value == "body"), None)
    if isinstance(case.body, dict) and mode is not None and mode.is_positive and DICE.random() < 0.9:
        for name in ("api_key", "root_pass"):
            case.body.pop(name, None)


def expose_invalid_parameters(case):
    """Removes valid values of a parameter that another source has with a deliberately invalid value. A source with
    precedence would hide the invalid value otherwise."""
    sources = {
        "query": case.query,
        "header": case.headers,
        "body": case.body if isinstance(case.body, dict) else {},
    }
    modes = {location.value: data.mode for location, data in case.meta.components.items()}
    wrong = {source for source in sources if source in modes and modes[source].is_negative}
    names = {name.lower() for source in wrong for name in sources[source] or ()}
    for source in sources.keys() - wrong:
        for name in [name for name in sources[source] or () if name.lower() in names & FROM_ANY_SOURCE]:
            del sources[source][name]
