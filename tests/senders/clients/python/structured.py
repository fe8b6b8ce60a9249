"""Sends each record as a library for structured logs makes it, and prints it: structured.py LIBRARY."""

import os
import sys
import urllib.request


def send(text):
    headers = {"Content-Type": "application/json", "X-API-Key": os.environ["MOCA_KEY"]}
    request = urllib.request.Request(os.environ["MOCA_URL"] + "/save-log", text.encode(), headers)
    urllib.request.urlopen(request).read()
    print(text.rstrip("\n"))


def by_loguru():
    from loguru import logger

    logger.remove()
    logger.add(send, serialize=True, level=0)
    for level in ("trace", "debug", "info", "success", "warning", "error", "critical"):
        getattr(logger, level)("{} of {}", level, "loguru")
    logger.bind(user="bob").info("bound")
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("caught")


def by_structlog():
    import structlog

    class Sender:
        def msg(self, text):
            send(text)

        debug = info = warning = error = critical = msg

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: Sender(),
    )
    logger = structlog.get_logger().bind(user="bob")
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)(f"{level} of structlog", order=7, tags=["a", "b"])


def by_ecs():
    import logging

    import ecs_logging

    class Send(logging.Handler):
        def emit(self, record):
            send(self.format(record))

    handler = Send()
    handler.setFormatter(ecs_logging.StdlibFormatter())
    logger = logging.getLogger("shop")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)(f"{level} of ecs", extra={"http.request.method": "GET"})


{"loguru": by_loguru, "structlog": by_structlog, "ecs": by_ecs}[sys.argv[1]]()
