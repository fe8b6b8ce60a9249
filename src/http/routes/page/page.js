// The operator's page. It requests all data from the routes of the log, with the key and the root
// password in headers.
//
// The page inserts data from the server as text, never as markup. Its content security policy
// (trusted types) would refuse markup.
//
// The rows are a contiguous part of the selection, at most MAX_ROWS records. The live tail resumes
// from the cursor of the last record and appends. Reads from the first record backwards prepend.

const LEVELS = ["debug", "info", "warning", "error", "critical"];
const FIELDS = ["since", "until", "level", "contains", "regex", "client", "key"];
/** Maximum number of rows in the page. */
const MAX_ROWS = 5000;
/** Number of lines in one read, and at the start of the tail. */
const PAGE_LINES = 500;
/** Maximum number of rows built in one frame, so that the page stays responsive. */
const MAX_ROWS_PER_FRAME = 200;
/** Number of records before the first row that the chart counts by itself. */
const INITIAL_COUNT_RECORDS = 10_000;
/** Number of records that the chart counts for each press of the button. */
const MORE_COUNT_RECORDS = 100_000;
/** Number of missed lines after which the tail starts again with the latest lines. */
const MAX_MISSED_LINES = 20_000;
/** Seconds without a byte, heartbeats included, after which the page gives up a stream. */
const STREAM_TIMEOUT_SECONDS = 45;
/** Seconds after which a hidden page closes its connection. A browser has few connections. */
const HIDDEN_TIMEOUT_SECONDS = 30;
/** Part of a message that is shown before the operator opens all of it. */
const MAX_SHOWN_CHARS = 2000;
const MAX_SHOWN_LINES = 20;
/** Part of the fields that is shown before the operator opens all of them. */
const MAX_SHOWN_FIELD_CHARS = 600;

const $ = (id) => document.getElementById(id);
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const base = location.origin + location.pathname.replace(/\/*$/, "/");
const number = (n) => n.toLocaleString("en");

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// -------------------------------------------------------------------------------------------------
// Requests to the server

/** The two headers, or null when signed out. The page stores them nowhere else. */
let secrets = null;

/** An error for an answer that is not a success. */
class Refusal extends Error {
  constructor(answer, problem) {
    const wait = Number(answer.headers.get("Retry-After")) || 0;
    const words = [problem.detail ?? `${answer.status} ${answer.statusText}`, problem.reason];
    if (wait) words.push(`Try again in ${wait} s.`);
    super(words.filter(Boolean).join(" "));
    this.status = answer.status;
    this.wait = wait;
    this.oldest = problem.oldest;
  }
}

/** Encodes a text for a header. Headers carry bytes, and the server reads them as UTF-8. */
const asHeader = (text) => String.fromCharCode(...new TextEncoder().encode(text));

async function ask(path, { query = {}, headers = {}, method = "GET", signal } = {}) {
  const url = new URL(path, base);
  url.search = new URLSearchParams(query);
  // This server may require a Referer. Other servers get none.
  const answer = await fetch(url, {
    method, signal, headers: { ...secrets, ...headers }, cache: "no-store", redirect: "error", referrerPolicy: "same-origin",
  });
  if (answer.ok) return answer;
  throw new Refusal(answer, await answer.json().catch(() => ({})));
}

/** Yields the lines of a body as they arrive, and pauses so that the page stays responsive. */
async function* linesOf(body, alive = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let since = performance.now();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      alive();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      yield* lines;
      if (performance.now() - since > 12) {
        await sleep(0);
        since = performance.now();
      }
    }
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Yields the records of the selection before the cursor, newest first. */
async function* recordsBefore(cursor, limit, signal) {
  const query = { ...selection, output: "ndjson", order: "desc", limit };
  if (cursor) query.cursor = cursor;
  const answer = await ask("get-logs", { query, signal });
  for await (const line of linesOf(answer.body)) if (line) yield JSON.parse(line);
}

// -------------------------------------------------------------------------------------------------
// Signing in and out

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [key, root] = [$("api-key").value, $("root-pass").value];
  if ([key, root].some((text) => text !== text.trim() || /[\0\r\n]/.test(text))) {
    $("sign-in-error").textContent = "A header can't carry a key or password that begins or ends with a space.";
    return;
  }
  const button = $("sign-in").querySelector("button");
  button.disabled = true;
  $("sign-in-error").textContent = "";
  secrets = { "API-KEY": asHeader(key), "ROOT-PASS": asHeader(root) };
  try {
    const details = await (await ask("details")).json();
    $("log-name").textContent = details.name;
    document.title = `${details.name} · MocaFileLog`;
    $("sign-in").reset();
    $("door").hidden = true;
    $("room").hidden = $("sign-out").hidden = false;
    begin();
    $("scroller").focus();
  } catch (error) {
    secrets = null;
    $("sign-in-error").textContent = error instanceof Refusal ? error.message : "The server can't be reached.";
    $("root-pass").focus();
  } finally {
    button.disabled = false;
  }
});

function signOut(words = "") {
  secrets = null;
  session.abort();
  emptyRows();
  chart.forget();
  $("facts").replaceChildren();
  $("health").open = false;
  $("clear-dialog").close();
  readHash();
  state("");
  document.title = "MocaFileLog";
  $("log-name").textContent = $("notice").textContent = $("news").textContent = $("filter-error").textContent = "";
  $("room").hidden = $("sign-out").hidden = true;
  $("door").hidden = false;
  $("sign-in-error").textContent = words;
  $("api-key").focus();
}
$("sign-out").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname + location.search);
  signOut();
});

/** Shows an error at the part of the page that it concerns. */
function failed(error, signal) {
  if (signal?.aborted || error.name === "AbortError") return;
  if (!(error instanceof Refusal)) return notice("The server can't be reached.");
  // Signs out only if the key or the password is invalid, not if the key may not use a path.
  if (error.status === 401 || /^(Invalid root password|Your API-KEY is not online)/.test(error.message)) return signOut(error.message);
  if (error.status !== 400) return notice(error.message);
  $("filter-error").textContent = error.message;
  $("filters").open = true;
  for (const name of FIELDS) {
    $(name).setAttribute("aria-invalid", new RegExp(`\\b${name}\\b`).test(error.message) && $(name).value !== "");
  }
}

// -------------------------------------------------------------------------------------------------
// The selection. It stands in the fragment of the address, so that operators can bookmark and share
// it. Browsers do not send the fragment to a server.

let selection = {};
/** Aborts all requests of the current selection. */
let session = new AbortController();

function choose(chosen) {
  const parameters = {};
  for (const name of FIELDS) if (chosen[name]) parameters[name] = chosen[name];
  const hash = String(new URLSearchParams(parameters));
  // Setting location.hash would fire an event later, and that event would undo newer input.
  if (location.hash.slice(1) !== hash) history.pushState(null, "", `${location.pathname}${location.search}#${hash}`);
  readHash();
  begin();
}

/** Copies the selection of the address into the form. */
function readHash() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const name of FIELDS) $(name).value = parameters.get(name) ?? "";
}

addEventListener("hashchange", () => {
  readHash();
  if (secrets) begin();
});
$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  choose(Object.fromEntries(new FormData($("filter"))));
});
$("reset").addEventListener("click", () => choose({}));
$("all-times").addEventListener("click", () => choose({ ...selection, since: "", until: "" }));

/** Starts the selection in the form. */
function begin(words = "") {
  session.abort();
  session = new AbortController();
  selection = {};
  for (const name of FIELDS) {
    const value = $(name).value.trim();
    if (value) selection[name] = value;
    $(name).removeAttribute("aria-invalid");
  }
  const inForce = FIELDS.filter((name) => selection[name]).map((name) => `${name} ${selection[name]}`);
  $("filters-in-force").textContent = inForce.length ? `(${inForce.join(", ")})` : "";
  $("filter-error").textContent = "";
  $("all-times").hidden = !selection.since && !selection.until;
  notice(words);
  emptyRows();
  chart.forget();
  resume = null;
  known = 0;
  following = true;
  paused = disconnected = false;
  $("countdown").textContent = "";
  wakeUp = null;
  showState();
  if (selection.until) readOnce(session.signal);
  else tail();
}

/** Reads a selection that has an end. No new records can arrive for it. */
async function readOnce(signal) {
  state("Reading…");
  await loadOlder(signal);
  if (signal.aborted) return;
  state("Not live: the selection has an end");
  chart.countBack(INITIAL_COUNT_RECORDS, signal);
}

// -------------------------------------------------------------------------------------------------
// The live tail

/** The cursor that the tail resumes from. */
let resume = null;
/** Aborts the current tail, but no other request of the selection. */
let tailing = new AbortController();
/** Whether the tail is connected. */
let live = false;
/** Number of records after the cursor that were rows before and are counted already. */
let known = 0;
/** Whether the operator or the page has paused the tail. */
let paused = false;
/** Whether the page scrolls to new lines. */
let following = true;
/** Ends the wait for the next attempt, or null when there is no wait. */
let wakeUp = null;

/** Yields the server-sent events of one answer as `[id, data]`. */
async function* eventsOf(body, alive) {
  let [id, data] = ["", []];
  for await (const raw of linesOf(body, alive)) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line === "" && data.length) {
      yield [id, data.join("\n")];
      data = [];
    }
  }
}

/** Follows the log until the selection changes or the tail pauses, and reconnects after a break. */
async function tail() {
  tailing = new AbortController();
  const signal = AbortSignal.any([session.signal, tailing.signal]);
  let wait = 0;
  while (!signal.aborted) {
    let words = "The connection ended";
    try {
      if (!wait) state("Connecting…");
      await tailOnce(signal, () => { wait = 0; });
    } catch (error) {
      if (signal.aborted) return;
      words = "Cut off";
      if (error instanceof Refusal) {
        words = error.message;
        if (resume && (error.status === 400 || (error.status === 410 && !error.oldest))) return begin(words);
        if (error.status === 410) {
          // The record of the cursor is gone. The oldest cursor reads all records that are left.
          resume = error.oldest;
          known = 0;
          if (rows.length) append([{ gap: "Lines were cleared or retired here." }]);
          await sleep(0.5);
          continue;
        }
        if (error.status !== 429 && error.status < 500) {
          paused = true;
          showState();
          state("Not live", "bad");
          return failed(error, signal);
        }
        wait = Math.max(wait, error.wait);
      }
    }
    if (signal.aborted) return;
    wait = Math.max(1, wait);
    await countDown(words, wait * (0.8 + Math.random() * 0.4), signal);
    wait = Math.min(30, wait * 2);
  }
}

/** Waits and shows the seconds. A screen reader speaks the words once, and not the seconds. */
async function countDown(words, seconds, signal) {
  state(words, "bad");
  let woken = false;
  const woke = new Promise((done) => {
    wakeUp = () => {
      woken = true;
      done();
    };
  });
  showState();
  for (let left = seconds; left > 0 && !woken && !signal.aborted; left--) {
    $("countdown").textContent = `again in ${Math.ceil(left)} s`;
    await Promise.race([woke, sleep(Math.min(1, left))]);
  }
  if (signal.aborted) return;
  wakeUp = null;
  $("countdown").textContent = "";
  showState();
}
addEventListener("online", () => wakeUp?.());

async function tailOnce(signal, connected) {
  const connection = new AbortController();
  const stop = () => connection.abort();
  signal.addEventListener("abort", stop);
  let timer = 0;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, STREAM_TIMEOUT_SECONDS * 1000);
  };
  try {
    const query = { ...selection, output: "json" };
    const headers = {};
    if (resume) headers["Last-Event-ID"] = resume;
    else query.lines = PAGE_LINES;
    const answer = await ask("tail", { query, headers, signal: connection.signal });
    connected();
    alive();
    live = true;
    showState();
    setTimeout(() => {
      $("nothing").hidden = rows.length > 0 || queue.length > 0 || signal.aborted;
    }, 300);
    const began = Date.parse(answer.headers.get("Date")) || Date.now();
    let missed = resume ? 0 : -Infinity;
    for await (const [id, data] of eventsOf(answer.body, alive)) {
      if (connection.signal.aborted) break;
      const record = JSON.parse(data);
      record.cursor = id || record.cursor;
      resume = record.cursor;
      queue.push(record);
      soon();
      if (Date.parse(record.time) < began && ++missed > MAX_MISSED_LINES) {
        begin(`More than ${number(MAX_MISSED_LINES)} lines came meanwhile; here are the latest.`);
        return;
      }
    }
  } catch (error) {
    // An abort by the page counts as a break of the connection.
    if (signal.aborted || !connection.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    connection.abort();
    if (!signal.aborted) live = false;
  }
}

/** Stops the tail. It resumes from the last row. */
function pause() {
  paused = true;
  live = false;
  tailing.abort();
  flush();
  $("countdown").textContent = "";
  wakeUp = null;
  showState();
}

function goOn() {
  if (paused) {
    paused = false;
    tail();
  }
  following = true;
  toEnd();
  showState();
}

$("follow").addEventListener("click", () => {
  if (selection.until) toEnd();
  else if (wakeUp) wakeUp();
  else if (paused || !following) goOn();
  else pause();
});

let unseen = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) {
    unseen = setTimeout(() => {
      if (live) {
        pause();
        disconnected = true;
      }
    }, HIDDEN_TIMEOUT_SECONDS * 1000);
    soon(); // A hidden page draws no frames.
  } else {
    wakeUp?.();
    if (disconnected) goOn();
    disconnected = false;
  }
});
/** Whether the page closed its connection by itself. */
let disconnected = false;

function state(words, look = "") {
  if ($("state").textContent !== words) $("state").textContent = words;
  $("state").className = look;
}

function showState() {
  $("follow").textContent = selection.until ? "To the end" : wakeUp ? "Try now" : paused || !following ? "Follow" : "Pause";
  if (selection.until) return;
  if (paused) state("Paused");
  else if (live) state(following ? "Live" : "Live, scrolled back", "live");
}

function notice(words) {
  $("notice").textContent = words;
}

// -------------------------------------------------------------------------------------------------
// Rows

/** `{cursor, item}` of each row, oldest first. Marks of a gap have no cursor. */
let rows = [];
/** Received records that are not rows yet. */
let queue = [];
let reachedStart = false;
let loading = false;

const firstCursor = () => rows.find((row) => row.cursor)?.cursor;

function emptyRows() {
  rows = [];
  queue = [];
  reachedStart = loading = false;
  $("rows").replaceChildren();
  $("nothing").hidden = true;
  showOlder();
}

let [frame, timeout] = [0, 0];
/** Schedules the building of rows for the next frame, or for a timer when no frames are drawn. */
function soon() {
  if (document.hidden) timeout ||= setTimeout(flush, 200);
  else frame ||= requestAnimationFrame(flush);
}

/** Builds rows from the queue. */
function flush() {
  cancelAnimationFrame(frame);
  clearTimeout(timeout);
  frame = timeout = 0;
  if (!queue.length) return;
  if (following && queue.length > MAX_ROWS) {
    // These records would be rows for a moment only.
    const skipped = queue.splice(0, queue.length - MAX_ROWS);
    count(skipped);
    rows = [];
    reachedStart = false;
    $("rows").replaceChildren();
  }
  const room = following ? MAX_ROWS_PER_FRAME : Math.min(MAX_ROWS_PER_FRAME, MAX_ROWS - rows.length);
  const taken = queue.splice(0, Math.max(0, room));
  append(taken);
  count(taken);
  if (!following && rows.length >= MAX_ROWS) {
    // The operator reads older lines. The page keeps them, and newer lines wait on the server.
    hold();
  }
  if (queue.length) soon();
}

/** Counts and announces the records that were never rows before. */
function count(records) {
  const seen = Math.min(known, records.length);
  known -= seen;
  const fresh = records.slice(seen);
  if (!fresh.length) return;
  chart.add(fresh, session.signal);
  announce(fresh);
}

function append(records) {
  const made = records.map(rowOf);
  $("rows").append(...made.map((row) => row.item));
  rows = rows.concat(made);
  if (following) {
    trimStart();
    toEnd();
  }
  $("nothing").hidden = rows.length > 0;
  showOlder();
}

function trimStart() {
  const over = rows.length - MAX_ROWS;
  if (over <= 0) return;
  for (const row of rows.splice(0, over)) row.item.remove();
  reachedStart = false;
}

/** Prepends older records, which come newest first, and keeps the visible rows in place. */
function prepend(records) {
  const made = records.reverse().map(rowOf);
  const scroller = $("scroller");
  const fromBottom = scroller.scrollHeight - scroller.scrollTop;
  $("rows").prepend(...made.map((row) => row.item));
  rows = made.concat(rows);
  scroller.scrollTop = scroller.scrollHeight - fromBottom;
  if (rows.length <= MAX_ROWS) return;
  for (const row of rows.splice(MAX_ROWS)) {
    row.item.remove();
    if (row.cursor) known += 1;
  }
  hold();
}

/** Keeps the rows. Later records wait on the server. */
function hold() {
  queue = [];
  resume = rows.findLast((row) => row.cursor)?.cursor ?? resume;
  if (selection.until) return notice(`${number(MAX_ROWS)} lines are held here; Apply brings the latest back.`);
  pause();
  notice(`${number(MAX_ROWS)} lines are held here; Follow goes on with the next ones.`);
}

async function loadOlder(signal = session.signal) {
  if (loading || reachedStart) return;
  loading = true;
  showOlder();
  const cursor = firstCursor();
  try {
    const records = [];
    for await (const record of recordsBefore(cursor, PAGE_LINES, signal)) records.push(record);
    reachedStart = records.length < PAGE_LINES;
    if (cursor) following = false;
    prepend(records);
    if (!cursor) toEnd();
  } catch (error) {
    if (error.status === 410) reachedStart = true;
    else failed(error, signal);
  }
  if (signal.aborted) return;
  loading = false;
  $("nothing").hidden = rows.length > 0;
  showOlder();
  showState();
}
$("older").addEventListener("click", async () => {
  if (!rows.length) return;
  following = false;
  await loadOlder();
  $("scroller").scrollTop -= $("scroller").clientHeight / 2;
});

function showOlder() {
  // `disabled` would take the focus away from an operator who has just pressed the button.
  $("older").setAttribute("aria-disabled", loading || reachedStart || !rows.length);
  $("older").textContent = loading ? "Reading…" : reachedStart && rows.length ? "This is the beginning" : "Older lines";
}

function toEnd() {
  $("scroller").scrollTop = $("scroller").scrollHeight;
}

$("scroller").addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = $("scroller");
  const atEnd = scrollTop + clientHeight >= scrollHeight - 30;
  if (atEnd !== following) {
    following = atEnd;
    if (!atEnd || !paused) showState();
  }
  if (!atEnd && scrollTop < clientHeight) loadOlder();
});
new ResizeObserver(() => following && toEnd()).observe($("scroller"));

const levelOf = (record) => LEVELS.indexOf(String(record.level).toLowerCase());

function rowOf(record) {
  if (record.gap) return { item: make("li", "gap", record.gap) };
  const level = levelOf(record);
  const item = make("li", LEVELS[level]);
  const time = make("time");
  const said = make("span", "said");
  const message = make("span", "message");
  const about = make("span", "about");
  show(message, record.message);
  said.append(message);
  if (record.fields) said.append(" ", fieldsOf(record));
  if (record.time) {
    time.dateTime = time.title = record.time;
    time.append(make("span", "year", record.time.slice(0, 5)), record.time.slice(5, 23).replace("T", " "));
    about.append(`${record.client} · ${record.key}`, make("span", "more", ` · ${record.route} · ${record.pid} #${record.seq}`));
  } else {
    about.append("not a record"); // Another program wrote this line into the file.
  }
  item.append(time, make("span", "level", LEVELS[level]?.toUpperCase()), said, about);
  return { cursor: record.cursor, item };
}

/** Characters that are invisible or change the look of the text around them. */
const CONTROL = /([\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb])/;

function show(element, message) {
  let end = Math.min(message.length, MAX_SHOWN_CHARS);
  for (let at = -1, line = 0; line < MAX_SHOWN_LINES; line++) {
    at = message.indexOf("\n", at + 1);
    if (at < 0 || at >= end) break;
    if (line === MAX_SHOWN_LINES - 1) end = at;
  }
  if (end < message.length && /[\ud800-\udbff]/.test(message[end - 1])) end -= 1;
  put(element, message.slice(0, end));
  if (end === message.length) return;
  const more = make("button", "", `Show all ${number([...message].length)} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    element.replaceChildren();
    put(element, message);
    $("scroller").focus();
  });
  element.append("… ", more);
}

/** Shows a text unchanged. Only control characters are escaped, as in the file. */
function put(element, text) {
  if (!CONTROL.test(text)) return element.append(text);
  text.split(CONTROL).forEach((part, index) => {
    if (index % 2 === 0) return element.append(part);
    const written = part === "\r" ? "\\r" : `\\u{${part.codePointAt(0).toString(16)}}`;
    element.append(make("span", "control", written));
  });
}

/** Returns the fields of a record as the file has them, `NAME=VALUE`. The sender's time comes first. */
function fieldsOf(record) {
  const element = make("span", "fields");
  const all = Object.entries(record.fields).sort(([a], [b]) => (b === "at") - (a === "at"));
  const written = all.map(([name, value]) => [name, fieldValue(value)]);
  const length = written.reduce((sum, [name, value]) => sum + name.length + value.length + 2, 0);
  const fill = (left) => {
    element.replaceChildren();
    for (const [name, value] of written) {
      if (left <= 0) return;
      const field = name === "at" ? senderTime(record) : make("span", "field");
      put(field, `${name}=`);
      let end = Math.min(value.length, left);
      if (end < value.length && /[\ud800-\udbff]/.test(value[end - 1])) end -= 1;
      put(field, value.slice(0, end));
      if (element.hasChildNodes()) element.append(" ");
      element.append(field);
      left -= name.length + value.length + 2;
    }
  };
  fill(MAX_SHOWN_FIELD_CHARS);
  if (length <= MAX_SHOWN_FIELD_CHARS) return element;
  const more = make("button", "", all.length === 1 ? "Show the whole field" : `Show all ${number(all.length)} fields`);
  more.type = "button";
  more.addEventListener("click", () => {
    fill(Infinity);
    $("scroller").focus();
  });
  element.append("… ", more);
  return element;
}

/** Returns the element of the sender's time, with the time until the record arrived. */
function senderTime(record) {
  const { at } = record.fields;
  const element = make("time", "field");
  const seconds = (Date.parse(record.time) - Date.parse(at)) / 1000;
  if (!Number.isFinite(seconds)) return element;
  element.dateTime = at;
  const distance = `${number(Math.abs(seconds))} s ${seconds < 0 ? "after" : "before"} the arrival`;
  element.title = `The sender's time, ${distance}`;
  return element;
}

/** Returns a value as it stands in a text line: bare, or in quotes with escapes. */
function fieldValue(value) {
  if (value !== "" && !/[\s"=\\\p{Cc}]/u.test(value)) return value;
  return `"${value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}

/** The summary of the last ten seconds for screen readers. */
let announcement = null;
function announce(records) {
  if (!announcement) {
    announcement = { lines: 0, errors: 0 };
    setTimeout(() => {
      const { lines, errors } = announcement;
      announcement = null;
      if (!secrets) return;
      $("news").textContent = `${number(lines)} new ${lines === 1 ? "line" : "lines"}` + (errors ? `, ${number(errors)} with errors` : "");
    }, 10_000);
  }
  announcement.lines += records.length;
  announcement.errors += records.filter((record) => levelOf(record) >= 3).length;
}

// -------------------------------------------------------------------------------------------------
// The chart: the number of lines of each level over time

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

class Chart {
  #element = $("chart");
  #counts = new Map(); // Maps a multiple of #grain, in seconds, to one number for each level.
  #grain = 1;
  #zone = "Z";
  #first; // The cursor that counting back continues from.
  #whole = false;
  #counting = false;
  #drawn = false;
  #from = 0;
  #step = 1;
  #bars = 0;
  #earliest = 0;
  #range = null; // The selected bars: [start, current end].

  constructor() {
    const at = (event) => {
      const box = this.#element.getBoundingClientRect();
      const bar = Math.floor(((event.clientX - box.left) / box.width) * this.#bars);
      return Math.max(0, Math.min(this.#bars - 1, bar));
    };
    let dragging = false;
    this.#element.addEventListener("pointerdown", (event) => {
      if (event.button || !this.#bars) return;
      dragging = true;
      this.#element.setPointerCapture(event.pointerId);
      this.#choose([at(event), at(event)]);
    });
    this.#element.addEventListener("pointermove", (event) => dragging && this.#choose([this.#range[0], at(event)]));
    this.#element.addEventListener("pointerup", () => {
      if (dragging) this.#apply();
      dragging = false;
    });
    this.#element.addEventListener("pointercancel", () => {
      dragging = false;
      this.#choose(null);
    });
    this.#element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") dragging = false;
      if (this.#key(event)) event.preventDefault();
    });
    this.#element.addEventListener("blur", () => dragging || this.#choose(null));
    new ResizeObserver(() => this.#draw()).observe(this.#element);
  }

  forget() {
    this.#counts.clear();
    this.#grain = 1;
    this.#first = undefined;
    this.#whole = this.#counting = false;
    this.#range = null;
    this.#draw();
  }

  /** Counts records of the tail. Older records are counted back from the first of them. */
  add(records, signal) {
    if (!records.length) return;
    const first = this.#first === undefined;
    if (first) this.#first = records[0].cursor;
    for (const record of records) this.#count(record);
    if (first) this.countBack(INITIAL_COUNT_RECORDS, signal);
    this.#drawSoon();
  }

  async countBack(limit, signal) {
    if (this.#counting || this.#whole) return;
    this.#counting = true;
    this.#draw();
    try {
      let counted = 0;
      for await (const record of recordsBefore(this.#first, limit, signal)) {
        if (signal.aborted) return;
        counted += 1;
        this.#first = record.cursor;
        this.#count(record);
        this.#drawSoon();
      }
      this.#whole = counted < limit;
    } catch (error) {
      if (error.status === 410) this.#whole = true;
      else failed(error, signal);
    }
    if (signal.aborted) return;
    this.#counting = false;
    this.#draw();
  }

  #count(record) {
    const time = Date.parse(record.time) / 1000;
    const level = levelOf(record);
    if (!(time > 0) || level < 0) return;
    this.#zone = record.time.match(/(?:Z|[+-]\d\d:\d\d)$/)?.[0] ?? "Z";
    this.#into(Math.floor(time / this.#grain) * this.#grain, level, 1);
    if (this.#counts.size <= 20_000) return;
    // Limits the memory for a long time range.
    this.#grain *= 10;
    const fine = this.#counts;
    this.#counts = new Map();
    for (const [at, numbers] of fine) {
      numbers.forEach((n, index) => this.#into(Math.floor(at / this.#grain) * this.#grain, index, n));
    }
  }

  #into(at, level, n) {
    let numbers = this.#counts.get(at);
    if (!numbers) this.#counts.set(at, (numbers = [0, 0, 0, 0, 0]));
    numbers[level] += n;
  }

  #drawSoon() {
    if (this.#drawn) return;
    this.#drawn = true;
    setTimeout(() => {
      this.#drawn = false;
      this.#draw();
    }, 250);
  }

  #draw() {
    const stacks = this.#stacks();
    const highest = Math.max(1, ...stacks.map((numbers) => numbers.reduce((a, b) => a + b)));
    const shapes = [];
    const rect = (look, x, y, width, height) => {
      const shape = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ class: look, x, y, width, height })) shape.setAttribute(name, value);
      shapes.push(shape);
    };
    stacks.forEach((numbers, index) => {
      let top = 100;
      numbers.forEach((n, level) => {
        if (!n) return;
        const height = Math.max(2, (n / highest) * 92); // One error among thousands stays visible.
        top = Math.max(0, top - height);
        rect(LEVELS[level], index + 0.06, top, 0.88, height);
      });
    });
    if (this.#range) {
      const [a, b] = this.#sorted();
      rect("chosen", a, 0, b - a + 1, 100);
      rect("cursor", this.#range[1], 0, 1, 100);
    }
    $("bars").setAttribute("viewBox", `0 0 ${Math.max(1, this.#bars)} 100`);
    $("bars").replaceChildren(...shapes);
    const times = this.#bars ? [0, this.#bars / 2, this.#bars].map((at) => this.#words(this.#from + at * this.#step)) : ["", "", ""];
    [...$("axis").children].forEach((label, index) => { label.textContent = times[index]; });
    this.#speak(stacks, highest);
    this.#showCounts(stacks);
  }

  /** Returns the numbers of each bar, and sets the width of a bar. */
  #stacks() {
    this.#bars = 0;
    if (!this.#counts.size) return [];
    let [from, to] = [Infinity, -Infinity];
    for (const at of this.#counts.keys()) {
      from = Math.min(from, at);
      to = Math.max(to, at);
    }
    to += this.#grain;
    const room = Math.max(20, Math.min(120, Math.floor(this.#element.clientWidth / 8)));
    const fits = (step) => Math.ceil(to / step) - Math.floor(from / step) <= room;
    const step = STEPS.find((step) => step >= this.#grain && fits(step));
    this.#step = step ?? Math.ceil((to - from) / (room - 2) / 86_400) * 86_400;
    this.#from = Math.floor(from / this.#step) * this.#step;
    this.#bars = Math.ceil((to - this.#from) / this.#step);
    this.#earliest = from;
    // Pads a short range, so that its few bars do not fill the chart.
    const missing = Math.max(0, 20 - this.#bars);
    this.#from -= missing * this.#step;
    this.#bars += missing;
    const stacks = Array.from({ length: this.#bars }, () => [0, 0, 0, 0, 0]);
    for (const [at, numbers] of this.#counts) {
      const stack = stacks[Math.floor((at - this.#from) / this.#step)];
      numbers.forEach((n, level) => { stack[level] += n; });
    }
    return stacks;
  }

  #showCounts(stacks) {
    const sums = LEVELS.map((_, level) => stacks.reduce((sum, numbers) => sum + numbers[level], 0));
    $("counts").replaceChildren(...LEVELS.map((name, level) => {
      const item = make("li", name);
      item.append(`${name} `, make("b", "", number(sums[level])));
      return item;
    }).reverse().filter((_, index) => sums[LEVELS.length - 1 - index]));
    const sum = number(sums.reduce((a, b) => a + b));
    const part = this.#bars ? `the latest ${sum} lines, from ${this.#words(this.#earliest)} on; older ones are not counted` : "";
    $("counted").textContent = this.#counting ? `${sum}, counting…` : this.#whole || !this.#bars ? `${sum} ${sum === "1" ? "line" : "lines"}` : part;
    $("count-more").hidden = this.#counting || this.#whole || !this.#bars;
  }

  /** Formats seconds since 1970 as the log does: in the zone of the log, not of the browser. */
  #local(seconds) {
    const [, sign, hours, minutes] = this.#zone.match(/([+-])(\d\d):(\d\d)/) ?? [0, "+", 0, 0];
    const offset = (Number(hours) * 60 + Number(minutes)) * 60 * (sign === "-" ? -1 : 1);
    return new Date((seconds + offset) * 1000).toISOString().slice(0, 19);
  }

  #words(seconds) {
    return this.#local(seconds).replace("T", " ");
  }

  #stepWords() {
    const [unit, name] = [[86_400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([unit]) => this.#step % unit === 0);
    return this.#step === unit ? `a ${name}`.replace("a hour", "an hour") : `${this.#step / unit} ${name}s`;
  }

  #sorted() {
    return [...this.#range].sort((a, b) => a - b);
  }

  #choose(range) {
    this.#range = range;
    this.#draw();
  }

  #key(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (!this.#bars) return false;
    if (event.key === "Escape" && this.#range) this.#choose(null);
    else if (event.key === "Enter" && this.#range) this.#apply();
    else if (event.key in moves) {
      const now = this.#range?.[1] ?? (moves[event.key] < 0 ? this.#bars : -1);
      const next = Math.max(0, Math.min(this.#bars - 1, now + moves[event.key]));
      this.#choose([event.shiftKey && this.#range ? this.#range[0] : next, next]);
    } else return false;
    return true;
  }

  #speak(stacks, highest) {
    const chart = this.#element;
    chart.setAttribute("aria-valuemax", Math.max(0, this.#bars - 1));
    chart.setAttribute("aria-valuenow", this.#range?.[1] ?? 0);
    $("chart-most").textContent = "";
    if (!this.#bars) return chart.setAttribute("aria-valuetext", "no lines");
    const [a, b] = this.#range ? this.#sorted() : [0, this.#bars - 1];
    const sums = LEVELS.map((_, level) => stacks.slice(a, b + 1).reduce((sum, numbers) => sum + numbers[level], 0));
    const words = LEVELS.map((name, level) => sums[level] && `${number(sums[level])} ${name}`).filter(Boolean).reverse();
    const text = `${this.#words(this.#from + a * this.#step)} to ${this.#words(this.#from + (b + 1) * this.#step)}: ${words.join(", ") || "no lines"}`;
    chart.setAttribute("aria-valuetext", text);
    $("chart-most").textContent = this.#range ? `· ${text}` : `· at most ${number(highest)} in ${this.#stepWords()}`;
  }

  #apply() {
    const [a, b] = this.#sorted();
    const at = (bar) => this.#local(this.#from + bar * this.#step) + this.#zone;
    const [since, until] = [at(a), at(b + 1)];
    this.#range = null;
    choose({ ...selection, since, until });
  }
}

const chart = new Chart();
$("count-more").addEventListener("click", () => chart.countBack(MORE_COUNT_RECORDS, session.signal));

// -------------------------------------------------------------------------------------------------
// Download, clear, details

/** Downloads the log into a file. The browser keeps a large file on the disk. */
async function download(output, ending) {
  const buttons = [$("download-text"), $("download-ndjson")];
  for (const button of buttons) button.disabled = true;
  notice("Downloading…");
  try {
    const blob = await (await ask("download-logs", { query: { ...selection, output } })).blob();
    const link = make("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${$("log-name").textContent}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "")}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    notice(`Downloaded ${number(blob.size)} bytes.`);
  } catch (error) {
    failed(error);
  }
  for (const button of buttons) button.disabled = false;
}
$("download-text").addEventListener("click", () => download("text", "log"));
$("download-ndjson").addEventListener("click", () => download("ndjson", "ndjson"));

$("clear").addEventListener("click", () => {
  $("clear-form").reset();
  $("clear-yes").disabled = true;
  $("clear-error").textContent = "";
  $("clear-name").textContent = $("log-name").textContent;
  $("clear-dialog").showModal();
  $("clear-word").focus();
});
$("clear-word").addEventListener("input", () => {
  $("clear-yes").disabled = $("clear-word").value !== $("log-name").textContent;
});
$("clear-no").addEventListener("click", () => $("clear-dialog").close());
$("clear-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("clear-yes").disabled) return;
  $("clear-yes").disabled = true;
  try {
    await ask("clear-logs", { method: "POST" });
    $("clear-dialog").close();
    begin("The log was cleared.");
  } catch (error) {
    $("clear-error").textContent = error instanceof Refusal ? error.message : "The server can't be reached.";
    $("clear-yes").disabled = false;
  }
});

async function look() {
  const facts = [];
  try {
    const details = await (await ask("details")).json();
    for (const [name, value] of Object.entries(details)) facts.push([name, /^(count|size)/.test(name) ? number(value) : String(value ?? "–")]);
    const status = await ask("/status").then((answer) => answer.text(), (error) => error.message);
    const metrics = await ask("/metrics").then((answer) => answer.text(), () => "");
    for (const line of metrics.split("\n")) {
      const [, name, value] = line.match(/^(\w+(?:\{.*\})?) (\S+)$/) ?? [];
      if (name && !name.includes("_bucket")) facts.push([name, value]);
    }
    $("service").textContent = status;
  } catch (error) {
    failed(error);
  }
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}
$("health").addEventListener("toggle", () => $("health").open && look());
$("look-again").addEventListener("click", look);

// -------------------------------------------------------------------------------------------------
// Light and dark, small and large

const THEMES = ["system", "light", "dark"];
let theme = "system";
function applyTheme(name) {
  theme = THEMES.includes(name) ? name : "system";
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}
/** Stores the theme, if given, and returns the stored one. The browser may refuse storage. */
function kept(...value) {
  try {
    if (value.length) localStorage.setItem("moca-theme", value[0]);
    return localStorage.getItem("moca-theme");
  } catch {
    return null;
  }
}
$("theme").addEventListener("click", () => {
  applyTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  kept(theme);
});
applyTheme(kept());
if (matchMedia("(max-width: 46rem)").matches) $("filters").open = false;
readHash();
$("api-key").focus();
