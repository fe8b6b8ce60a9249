"""Logs by logging.handlers.HTTPHandler, and prints each record as a formatter of logging shows it.

Usage: stdlib.py MODE. With `formatted`, another handler formats each record first, as it happens in
applications that also log to a terminal.
"""

import json
import logging
import logging.handlers
import os
import sys

mode = sys.argv[1]
printed = []


class Show(logging.Handler):
    """Keeps what the formatter of logging makes of a record."""

    def emit(self, record):
        shown = logging.Formatter("%(message)s").format(record) if mode == "formatted" else None
        fields = {
            "logger": record.name,
            "file": record.pathname,
            "line": str(record.lineno),
            "function": record.funcName,
            "process": str(record.process),
            "thread": record.threadName,
        }
        if record.exc_info and mode != "formatted":
            fields["exc_info"] = str(record.exc_info)
        if shown is None:
            shown = record.getMessage()
            if record.stack_info:
                shown += "\n" + record.stack_info
        for name in ("user", "order"):
            if hasattr(record, name):
                fields[name] = str(getattr(record, name))
        printed.append(
            {
                "number": record.levelno,
                "name": record.levelname,
                "message": shown,
                "created": repr(record.created),
                "fields": fields,
            }
        )


address = f"{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}"
key = os.environ["MOCA_KEY"]
path = "/moca-file-log/save-log"
if mode == "credentials":
    http = logging.handlers.HTTPHandler(address, path, method="POST", credentials=("anybody", key))
else:
    method = "GET" if mode == "GET" else "POST"
    http = logging.handlers.HTTPHandler(address, f"{path}?api_key={key}", method=method)
logger = logging.getLogger("app.module")
logger.setLevel(1)
logging.addLevelName(5, "TRACE")
logging.addLevelName(45, "ALERT")
for handler in (Show(), http) if mode == "formatted" else (http, Show()):
    logger.addHandler(handler)


def serve(order):
    logger.log(5, "trace")
    logger.debug("debug")
    logger.info("user %s logged in after %d ms", "bob", 12)
    logger.warning("%(part)s is %(percent).1f%% full", {"part": "disk", "percent": 97.25})
    logger.error("order failed", extra={"user": "bob", "order": order})
    logger.critical("two\nlines | with \\ and ünïcödé 🎉")
    logger.log(45, "no argument: 100 %")
    logger.log(25, "between the levels")
    logger.info("it's %s and %s", "it's", 'a "quote"')
    logger.info("where", stack_info=True)
    try:
        raise ValueError(f"order {order} is wrong")
    except ValueError:
        logger.exception("caught")
    logger.info("")


serve(7)
for line in printed:
    print(json.dumps(line))
