"""Logs by python-logging-loki: loki.py VERSION [KEY]. Prints what it logs."""

import json
import logging
import os
import sys

import logging_loki

version = sys.argv[1]
key = sys.argv[2] if len(sys.argv) > 2 else os.environ["MOCA_KEY"]
path = "/loki/api/v1/push" if version == "1" else "/api/prom/push"
handler = logging_loki.LokiHandler(
    url=f"http://{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}{path}",
    tags={"app": "shop"},
    auth=("anybody", key),
    version=version,
)
handler.handleError = lambda record: sys.exit(f"not stored: {sys.exc_info()[1]}")
logger = logging.getLogger("cart")
logger.setLevel(logging.DEBUG)
logger.addHandler(handler)
times = []
handler.addFilter(lambda record: times.append(record.created) or True)
for number, level in enumerate(["debug", "info", "warning", "error", "critical"]):
    message = f'line {number}: käse "&" 100 %'
    getattr(logger, level)(message, extra={"tags": {"order": str(number), "user": "bob smith"}})
    print(json.dumps({"level": level, "message": message, "time": times[-1], "order": str(number)}))
