"""Sends logs by datadog-api-client: datadog.py [KEY]."""

import os
import sys

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.model.content_encoding import ContentEncoding
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem

configuration = Configuration(host=f"http://{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}")
configuration.api_key["apiKeyAuth"] = sys.argv[1] if len(sys.argv) > 1 else os.environ["MOCA_KEY"]


def item(number, **more):
    return HTTPLogItem(
        ddsource="nginx",
        ddtags="env:prod,version:5.1",
        hostname="shop-1",
        service="cart",
        message=f"line {number}: käse",
        **more,
    )


with ApiClient(configuration) as client:
    api = LogsApi(client)
    api.submit_log(body=HTTPLog([item(0), item(1, status="error", order="7")]))
    api.submit_log(content_encoding=ContentEncoding.GZIP, body=HTTPLog([item(2, status="warning")]))
