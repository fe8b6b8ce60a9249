"""Sends one record by requests: requests_client.py MODE."""

import gzip
import os
import sys

import requests

mode = sys.argv[1]
url = os.environ["MOCA_URL"] + "/save-log"
key = {"API-KEY": os.environ["MOCA_KEY"]}
record = {"level": "error", "message": f"requests {mode}: käse & 100 %", "user": "bob smith", "order": 7}
match mode:
    case "json":
        answer = requests.post(url, json=record, headers=key)
    case "form":
        answer = requests.post(url, data=record, headers=key)
    case "multipart":
        answer = requests.post(url, files={name: (None, str(value)) for name, value in record.items()}, headers=key)
    case "query":
        answer = requests.get(url, params=record | {"api_key": os.environ["MOCA_KEY"]})
    case "auth":
        answer = requests.post(url, json=record, auth=("anybody", os.environ["MOCA_KEY"]))
    case "auth-user":
        answer = requests.post(url, json=record, auth=(os.environ["MOCA_KEY"], ""))
    case "gzip":
        body = gzip.compress(requests.Request("POST", url, json=record).prepare().body)
        headers = key | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = requests.post(url, data=body, headers=headers)
    case "chunked":
        body = requests.Request("POST", url, json=record).prepare().body
        parts = (body[at : at + 7] for at in range(0, len(body), 7))
        answer = requests.post(url, data=parts, headers=key | {"Content-Type": "application/json"})
    case "text":
        answer = requests.post(url, data=record["message"].encode(), headers=key)
    case "array":
        answer = requests.post(url + "s", json=[record, record | {"order": 8}], headers=key)
    case _:
        sys.exit(f"the mode {mode} is unknown")
print(answer.text)
answer.raise_for_status()
