"""Sends records by aiohttp: aiohttp_client.py MODE."""

import asyncio
import json
import os
import sys

import aiohttp

mode = sys.argv[1]
url = os.environ["MOCA_URL"] + "/save-log"
record = {"level": "warning", "message": f"aiohttp {mode}", "user": "bob", "order": 7}


async def chunks():
    body = json.dumps(record).encode()
    for at in range(0, len(body), 7):
        yield body[at : at + 7]


async def send(session):
    match mode:
        case "json":
            request = session.post(url, json=record)
        case "form":
            request = session.post(url, data={name: str(value) for name, value in record.items()})
        case "multipart":
            form = aiohttp.FormData(default_to_multipart=True)
            for name, value in record.items():
                form.add_field(name, str(value))
            request = session.post(url, data=form)
        case "deflate" | "gzip":
            request = session.post(url, json=record, compress=mode)
        case "chunked":
            request = session.post(url, data=chunks(), headers={"Content-Type": "application/json"})
        case "expect":
            request = session.post(url, json=record, expect100=True)
        case "auth":
            request = session.post(url, json=record)
        case _:
            sys.exit(f"the mode {mode} is unknown")
    async with request as answer:
        assert answer.status == 200, await answer.text()


async def main():
    key = os.environ["MOCA_KEY"]
    options = {"auth": aiohttp.BasicAuth("anybody", key)} if mode == "auth" else {"headers": {"API-KEY": key}}
    async with aiohttp.ClientSession(**options) as session:
        await send(session)


asyncio.run(main())
