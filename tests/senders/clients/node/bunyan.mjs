// Logs by bunyan, whose stream posts each record, and prints it.
import bunyan from "bunyan";

const requests = [];
const post = {
  async write(text) {
    requests.push(text);
  },
};
const logger = bunyan.createLogger({ name: "shop", level: "trace", streams: [{ level: "trace", stream: post }] });
for (const level of ["trace", "debug", "info", "warn", "error", "fatal"]) logger[level](`${level} of bunyan`);
logger.info({ user: "bob", order: { id: 7 } }, "%s logged in", "bob");
logger.error(new Error("wrong"), "caught");
for (const body of requests) {
  const answer = await fetch(`${process.env.MOCA_URL}/save-log`, {
    method: "POST",
    headers: { "content-type": "application/json", "api-key": process.env.MOCA_KEY },
    body,
  });
  if (!answer.ok) throw new Error(await answer.text());
  process.stdout.write(body);
}
