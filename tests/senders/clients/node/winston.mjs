// Logs by the HTTP transport of winston and prints each record as winston made it: winston.mjs MODE.
import winston from "winston";

const mode = process.argv[2];
const key = process.env.MOCA_KEY;
const { combine, errors, json, splat, timestamp } = winston.format;

const options = {
  host: process.env.MOCA_HOST,
  port: Number(process.env.MOCA_PORT),
  path: `/moca-file-log/save-log${mode.startsWith("batch") ? "s" : ""}`,
};
if (mode === "basic") options.auth = { username: "anybody", password: key };
else if (mode === "bearer") options.auth = { bearer: key };
else options.headers = { "API-KEY": key };
if (mode.startsWith("batch")) Object.assign(options, { batch: true, batchCount: 4, batchInterval: 200 });

const http = new winston.transports.Http(options);
http.on("warn", (error) => console.error(`winston: ${error.message}`));
const show = new winston.transports.Console({ forceConsole: false });
const logger = winston.createLogger({
  levels: mode === "syslog" ? winston.config.syslog.levels : winston.config.npm.levels,
  level: mode === "syslog" ? "debug" : "silly",
  format: ["npm", "syslog", "pauses", "basic", "bearer"].includes(mode)
    ? json()
    : combine(errors({ stack: true }), splat(), timestamp(), json()),
  transports: [http, show],
});

// Messages that were sent before must be acknowledged first, so that their order is known.
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const sent = (record) => {
  const answered = new Promise((resolve) => {
    http.once("logged", resolve);
    http.once("warn", resolve);
  });
  record();
  return answered;
};

switch (mode) {
  case "npm":
  case "syslog":
    for (const level of Object.keys(logger.levels)) await sent(() => logger[level](`${level} of winston`));
    break;
  case "meta":
    await sent(() => logger.info("flat", { user: "bob", order: 7, ok: true, nothing: null }));
    await sent(() => logger.warn("nested", { http: { request: { method: "GET" } }, tags: ["a", "b"], none: {} }));
    await sent(() => logger.info("%s is %d", "it", 7));
    await sent(() => logger.child({ request: "r1" }).error("a child"));
    await sent(() => logger.info({ message: { id: 7 } }));
    await sent(() => logger.info("it's 5\" | \\| käse 🎉\nsecond line", { quoted: 'a "b" c', "a name|=": "x y" }));
    await sent(() => logger.info(""));
    break;
  case "error":
    await sent(() => logger.error(new Error("as the message")));
    await sent(() => logger.error("with an error", { error: "text", code: "E1" }));
    break;
  case "basic":
  case "bearer":
    await sent(() => logger.info(`${mode} of winston`));
    break;
  case "batch":
    for (let number = 0; number < 10; number += 1) {
      logger.log(number % 2 ? "warn" : "http", `batch ${number}`, { number });
    }
    break;
  case "pauses":
    // Node closes a connection that was idle for 5 seconds, unless the server names another time.
    for (let round = 0; round < 6; round += 1) {
      for (let number = 0; number < 20; number += 1) logger.info(`round ${round} line ${number}`);
      if (round < 5) await wait(4990 + round * 5);
    }
    break;
  default:
    throw new Error(`the mode ${mode} is unknown`);
}
