// Sends records by an HTTP client: http_clients.mjs CLIENT. Each record has the way of sending as its message.
import http from "node:http";

const client = process.argv[2];
const url = `${process.env.MOCA_URL}/save-log`;
const key = process.env.MOCA_KEY;
const headers = { "API-KEY": key };
const record = (message) => ({ level: "warn", message, user: "bob smith", order: { id: 7 } });
const form = (message) => ({ level: "warn", message, user: "bob smith" });
const check = (status) => {
  if (status !== 200) throw new Error(`the status is ${status}`);
};

switch (client) {
  case "axios": {
    const { default: axios } = await import("axios");
    await axios.post(url, record("json"), { headers });
    await axios.post(url, new URLSearchParams(form("form")), { headers });
    await axios.postForm(url, form("multipart"), { headers });
    await axios.post(url, record("auth"), { auth: { username: "anybody", password: key } });
    await axios.post(`${url}s`, [record("array 1"), record("array 2")], { headers });
    await axios.post(url, "text", { headers });
    break;
  }
  case "undici": {
    const { Client, request } = await import("undici");
    const json = { ...headers, "content-type": "application/json" };
    check((await request(url, { method: "POST", headers: json, body: JSON.stringify(record("json")) })).statusCode);
    check((await request(url, { method: "POST", headers, body: "text" })).statusCode);
    const pipelined = new Client(new URL(url).origin, { pipelining: 10 });
    const answers = Array.from({ length: 10 }, (_, number) =>
      pipelined.request({
        path: new URL(url).pathname,
        method: "POST",
        headers: json,
        body: JSON.stringify(record(`pipelined ${number}`)),
        idempotent: true,
        blocking: false,
      }),
    );
    for (const answer of await Promise.all(answers)) {
      check(answer.statusCode);
      await answer.body.dump();
    }
    await pipelined.close();
    break;
  }
  case "fetch": {
    const post = async (path, body, more = {}) =>
      check((await fetch(url + path, { method: "POST", headers: { ...headers, ...more }, body })).status);
    await post("", JSON.stringify(record("json")), { "content-type": "application/json" });
    await post("", JSON.stringify(record("json as text")));
    await post("", new URLSearchParams(form("form")));
    const parts = new FormData();
    for (const [name, value] of Object.entries(form("multipart"))) parts.append(name, value);
    await post("", parts);
    await post("", "text");
    await post("", new Blob(["bytes"]));
    await post("s", `${JSON.stringify(record("line 1"))}\n${JSON.stringify(record("line 2"))}\n`);
    break;
  }
  case "superagent": {
    const { default: superagent } = await import("superagent");
    await superagent.post(url).set(headers).send(record("json"));
    await superagent.post(url).set(headers).type("form").send(form("form"));
    await superagent.post(url).set(headers).field(form("multipart"));
    await superagent.post(url).auth("anybody", key).send(record("auth"));
    break;
  }
  case "got": {
    const { default: got } = await import("got");
    await got.post(url, { headers, json: record("json") });
    await got.post(url, { headers, form: form("form") });
    await got.post(url, { username: "anybody", password: key, json: record("auth") });
    break;
  }
  case "http": {
    const post = (message, options) =>
      new Promise((resolve, reject) => {
        const request = http.request(url, { method: "POST", headers, ...options }, (answer) => {
          answer.resume().on("end", () => resolve(check(answer.statusCode)));
        });
        request.on("error", reject);
        request.write(JSON.stringify(record(message)).slice(0, 5));
        request.end(JSON.stringify(record(message)).slice(5));
      });
    await post("chunked without a type");
    await post("auth", { headers: {}, auth: `anybody:${key}` });
    break;
  }
  default:
    throw new Error(`the client ${client} is unknown`);
}
