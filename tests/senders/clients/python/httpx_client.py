"""Sends records by httpx, the last one on a connection that was used before: httpx_client.py MODE."""

import os
import sys

import httpx

mode = sys.argv[1]
# Without HTTP/1, httpx speaks HTTP/2 from the first byte.
options = {"http1": {}, "http2": {"http1": False, "http2": True}, "auth": {}}[mode]
key = os.environ["MOCA_KEY"]
if mode == "auth":
    options["auth"] = ("anybody", key)
else:
    options["headers"] = {"API-KEY": key}
url = os.environ["MOCA_URL"] + "/save-log"
with httpx.Client(**options) as client:
    record = {"level": "info", "message": "json", "user": "bob", "order": {"id": 7}}
    answers = [
        client.post(url, json=record),
        client.post(url, data={"level": "error", "message": "form", "user": "bob"}),
        client.post(url, files={"message": (None, "multipart"), "user": (None, "bob")}),
        client.post(url, content="text"),
    ]
for answer in answers:
    answer.raise_for_status()
    assert answer.http_version == ("HTTP/2" if mode == "http2" else "HTTP/1.1")
