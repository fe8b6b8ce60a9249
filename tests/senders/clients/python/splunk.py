"""Logs by splunk-handler: splunk.py [KEY]. Prints what it logs."""

import json
import logging
import os
import sys

from splunk_handler import SplunkHandler

handler = SplunkHandler(
    host=os.environ["MOCA_HOST"],
    port=os.environ["MOCA_PORT"],
    token=sys.argv[1] if len(sys.argv) > 1 else os.environ["MOCA_KEY"],
    index="main",
    protocol="http",
    hostname="shop-1",
    source="cart",
    flush_interval=0.2,
    retry_count=0,
)
refusals = []
handler.write_log = lambda text, *_: refusals.append(text)
logger = logging.getLogger("cart")
logger.setLevel(logging.DEBUG)
logger.addHandler(handler)
for number in range(25):
    message = f'line {number}: käse "&" 100 %'
    logger.warning(message)
    print(json.dumps(message))
logging.shutdown()
failures = [text for text in refusals if "Exception" in text or "rror" in text]
sys.exit("\n".join(failures) or None)
