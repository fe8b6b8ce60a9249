// Logs by log4js and its appender of logFaces, which takes nothing but an address.
const log4js = require("log4js");

log4js.configure({
  appenders: {
    http: {
      type: "@log4js-node/logfaces-http",
      application: "shop",
      url: `${process.env.MOCA_URL}/save-log?api_key=${process.env.MOCA_KEY}`,
    },
  },
  categories: { default: { appenders: ["http"], level: "trace" } },
});
const logger = log4js.getLogger("cart");
logger.addContext("user", "bob");
for (const level of ["trace", "debug", "info", "warn", "error", "fatal"]) logger[level](`${level} of %s`, "log4js");
