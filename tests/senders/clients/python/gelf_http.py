"""Logs by pygelf over HTTP."""

import logging
import os

from pygelf import GelfHttpHandler

handler = GelfHttpHandler(
    host=os.environ["MOCA_HOST"],
    port=int(os.environ["MOCA_PORT"]),
    path=f"/k/{os.environ['MOCA_KEY']}/gelf",
    compress=True,
    include_extra_fields=True,
    _app="shop",
)
logger = logging.getLogger("cart")
logger.setLevel(logging.DEBUG)
logger.addHandler(handler)
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(logger, level)(f"{level}: käse", extra={"order": 7})
