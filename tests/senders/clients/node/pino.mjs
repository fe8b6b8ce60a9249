// Logs by pino to standard output. pino-http-send reads it there.
import pino from "pino";

const logger = pino({ level: "trace" });
for (const level of ["trace", "debug", "info", "warn", "error", "fatal"]) logger[level](`${level} of pino`);
logger.info({ user: "bob", order: { id: 7, items: [1, "two"] }, ok: true }, "%s logged in", "bob");
logger.child({ request: "r1" }).warn("a child");
logger.error(new Error("wrong"));
logger.error({ err: new TypeError("wrong type") }, "caught");
logger.info({ user: "without a message" });
logger.info("two\nlines | \\| \"käse\" 🎉");
