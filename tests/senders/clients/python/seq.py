"""Logs by seqlog: seq.py raw|clef. Prints what it logs."""

import logging
import os
import sys
import time

import seqlog

handler = seqlog.log_to_seq(
    server_url=f"http://{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}/",
    api_key=os.environ["MOCA_KEY"],
    level=logging.DEBUG,
    batch_size=5,
    auto_flush_timeout=0.2,
    override_root_logger=True,
    use_clef=sys.argv[1] == "clef",
)
logger = logging.getLogger("cart")
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(logger, level)("Order {order} of {user}: käse", order=7, user="bob smith")
try:
    raise ValueError("no stock")
except ValueError:
    logger.exception("Order {order} failed", order=8)
# The handler does not wait for its thread when the program ends.
handler.flush()
time.sleep(2)
logging.shutdown()
