"""Logs by OpenTelemetry, and prints each record: otel.py http|grpc plain|gzip [KEY].

It ends with 1 when the exporter reports a failure.
"""

import json
import logging
import os
import sys
import time

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

PROTOCOL, CODING = sys.argv[1:3]
KEY = sys.argv[3] if len(sys.argv) > 3 else os.environ["MOCA_KEY"]
ADDRESS = f"http://{os.environ['MOCA_HOST']}:{os.environ['MOCA_PORT']}"


def exporter():
    if PROTOCOL == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        compression = Compression.Gzip if CODING == "gzip" else Compression.NoCompression
        headers = (("api-key", KEY),)
        return OTLPLogExporter(endpoint=ADDRESS, insecure=True, headers=headers, compression=compression, timeout=5)
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    compression = Compression.Gzip if CODING == "gzip" else Compression.NoCompression
    headers = {"authorization": f"Bearer {KEY}"}
    return OTLPLogExporter(f"{ADDRESS}/v1/logs", headers=headers, compression=compression, timeout=5)


results = []
export = exporter()
send = export.export


def watched(batch):
    results.append(send(batch))
    return results[-1]


export.export = watched
resource = Resource.create({"service.name": "shop", "process.pid": 7, "tags": ["a", "b"]})
provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
provider.add_log_record_processor(BatchLogRecordProcessor(export, schedule_delay_millis=60_000))

logger = logging.getLogger("cart")
logger.setLevel(logging.DEBUG)
logger.addHandler(LoggingHandler(logger_provider=provider))
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(logger, level)("%s of otel", level, extra={"order": 7, "user": "bob smith", "ratio": 0.5})
logger.info('two\nlines | \\| "käse" 🎉')

now = time.time_ns()
provider.get_logger("events", "1.2").emit(
    timestamp=now,
    severity_number=SeverityNumber.WARN2,
    body={"message": "an object", "user": {"name": "eve"}},
    attributes={"nested": {"deep": {"list": [1, "two", None]}}, "flag": True},
    event_name="signed.in",
)
print(json.dumps({"now": now}))
provider.force_flush()
provider.shutdown()
sys.exit(results != [LogRecordExportResult.SUCCESS])
