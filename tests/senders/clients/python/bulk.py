"""Stores documents by the official client of Elasticsearch: bulk.py MODE. Prints the documents."""

import json
import os
import sys

from elasticsearch import ApiError, Elasticsearch, helpers

mode = sys.argv[1]
host = f"http://{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}"
key = os.environ["MOCA_KEY"]
match mode:
    case "basic":
        credentials = {"basic_auth": ("anybody", key)}
    case "bearer":
        credentials = {"bearer_auth": key}
    case "path":
        host, credentials = f"{host}/k/{key}", {}
    case "wrong":
        credentials = {"api_key": ("id", "wrong")}
    case _:
        credentials = {"api_key": ("id", key)}
client = Elasticsearch(host, http_compress=mode == "gzip", **credentials)

documents = [
    {
        "@timestamp": f"2026-11-23T05:02:28.{number:06}Z",
        "message": f"document {number}: käse & 100 %",
        "log": {"level": level},
        "order": number,
        "user": {"name": "bob smith"},
    }
    for number, level in enumerate(["debug", "info", "warn", "error", "fatal"] * 50)
]
actions = [
    {"_op_type": "create" if number % 2 else "index", "_index": "shop", "_source": document}
    for number, document in enumerate(documents)
]
if mode == "wrong":
    try:
        helpers.bulk(client, actions)
    except ApiError as error:
        print(error.meta.status, error.body["error"]["type"])
    sys.exit()
assert client.info()["tagline"] == "You Know, for Search"
assert client.ping()
if mode == "deletes":
    actions.insert(1, {"_op_type": "delete", "_index": "shop", "_id": "1"})
    stored, errors = helpers.bulk(client, actions, raise_on_error=False)
    assert [error["delete"]["status"] for error in errors] == [400], errors
else:
    stored, errors = helpers.bulk(client, actions, chunk_size=100)
    assert errors == []
assert stored == len(documents)
for document in documents:
    print(json.dumps(document))
