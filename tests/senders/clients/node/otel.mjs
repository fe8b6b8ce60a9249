// Logs by OpenTelemetry: otel.mjs http|proto|grpc none|gzip [KEY]. It ends with 1 when an export fails.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";

const [protocol, compression, key = process.env.MOCA_KEY] = process.argv.slice(2);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${protocol}`);
const address = `http://${process.env.MOCA_HOST}:${process.env.MOCA_PORT}`;

async function exporter() {
    if (protocol !== "grpc") {
        const headers = { "api-key": key };
        return new OTLPLogExporter({ url: `${address}/v1/logs`, headers, compression, timeoutMillis: 5000 });
    }
    const { Metadata } = await import("@grpc/grpc-js");
    const metadata = new Metadata();
    metadata.set("api-key", key);
    return new OTLPLogExporter({ url: address, metadata, compression, timeoutMillis: 5000 });
}

let failed = 0;
const sender = await exporter();
const send = sender.export.bind(sender);
sender.export = (records, done) => send(records, (result) => {
    failed += result.code === 0 ? 0 : 1;
    done(result);
});
const resource = resourceFromAttributes({ "service.name": "shop", "process.pid": 7 });
const provider = new LoggerProvider({
    resource,
    processors: [new SimpleLogRecordProcessor({ exporter: sender })],
});
const logger = provider.getLogger("cart", "1.2");
for (const level of ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]) {
    logger.emit({
        severityNumber: SeverityNumber[level],
        severityText: level,
        body: `${level} of otel`,
        timestamp: new Date(1795410148100),
        attributes: { order: 7, ratio: 0.5, ok: true, list: [1, "two"], user: { name: "eve", age: 9 } },
    });
    await provider.forceFlush();
}
logger.emit({ body: { message: "an object", user: "bob" }, eventName: "signed.in", timestamp: new Date(1795410148100) });
logger.emit({ body: "two\nlines | \\| \"käse\" 🎉", timestamp: new Date(1795410148100) });
await provider.forceFlush();
await provider.shutdown();
process.exit(failed > 0 ? 1 : 0);
