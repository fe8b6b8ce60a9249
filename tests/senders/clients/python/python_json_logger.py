"""Sends each record as python-json-logger formats it, and prints it."""

import logging
import os
import urllib.request

from pythonjsonlogger.json import JsonFormatter


class Send(logging.Handler):
    def emit(self, record):
        text = self.format(record)
        headers = {"Content-Type": "application/json", "API-KEY": os.environ["MOCA_KEY"]}
        request = urllib.request.Request(os.environ["MOCA_URL"] + "/save-log", text.encode(), headers)
        urllib.request.urlopen(request).read()
        print(text)


handler = Send()
handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s", timestamp=True))
logger = logging.getLogger("shop")
logger.setLevel(logging.DEBUG)
logger.addHandler(handler)
logger.debug("debug")
logger.info("user %s logged in", "bob", extra={"user": "bob", "order": {"id": 7, "items": [1, "two"]}})
logger.warning("ünïcödé")
try:
    raise ValueError("wrong")
except ValueError:
    logger.exception("caught")
logger.critical("critical", extra={"ratio": 0.5, "ok": True, "nothing": None})
