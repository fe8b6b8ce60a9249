// The operator's page. It asks the routes of the log for everything, with the key and the root password in headers.
//
// What the server says is put into the page as text and never as markup; the policy of the page (trusted types) would
// refuse anything else.
//
// The rows are one unbroken piece of the selection, at most MOST_ROWS of them. It grows at its end by the live tail,
// which goes on from the cursor of the last record, and at its beginning by reads that go back from the first one.

const LEVELS = ["debug", "info", "warning", "error", "critical"];
const FIELDS = ["since", "until", "level", "contains", "regex", "client", "key"];
/** Rows in the page. */
const MOST_ROWS = 5000;
/** Lines that are shown first, and that are asked for at once. */
const PAGE = 500;
/** Rows that are made at once, so that the page answers in between. */
const ROWS_A_FRAME = 200;
/** Records before the first row that the chart counts without being asked. */
const COUNTED_FIRST = 10_000;
const COUNTED_NEXT = 100_000;
/** So many lines missed, and the tail begins anew with the latest instead of sending them all. */
const MOST_MISSED = 20_000;
/** Seconds without a byte, heartbeats included, after which a stream is dead. */
const SILENCE = 45;
/** Seconds after which a page that nobody sees lets go of its connection: browsers have few of them. */
const UNSEEN = 30;
const LONG = 2000;
const LONG_LINES = 20;

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

// ---------------------------------------------------------------------------------------------------------------
// Asking the server

/** The two headers; null = signed out. They are kept nowhere else. */
let secrets = null;

/** An answer that is not a success. */
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

/** Headers carry bytes; the server reads them as UTF-8. */
const asHeader = (text) => String.fromCharCode(...new TextEncoder().encode(text));

async function ask(path, { query = {}, headers = {}, method = "GET", signal } = {}) {
  const url = new URL(path, base);
  url.search = new URLSearchParams(query);
  // Same-origin, so that a server that wants a Referer gets one; nobody else does.
  const answer = await fetch(url, {
    method, signal, headers: { ...secrets, ...headers }, cache: "no-store", redirect: "error", referrerPolicy: "same-origin",
  });
  if (answer.ok) return answer;
  throw new Refusal(answer, await answer.json().catch(() => ({})));
}

/** The lines of a body as they come. Lets the page breathe in between. */
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

/** Newest first, the records of the selection that end before the cursor. */
async function* recordsBefore(cursor, limit, signal) {
  const query = { ...selection, output: "ndjson", order: "desc", limit };
  if (cursor) query.cursor = cursor;
  const answer = await ask("get-logs", { query, signal });
  for await (const line of linesOf(answer.body)) if (line) yield JSON.parse(line);
}

// ---------------------------------------------------------------------------------------------------------------
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

/** What went wrong, where it belongs. */
function failed(error, signal) {
  if (signal?.aborted || error.name === "AbortError") return;
  if (!(error instanceof Refusal)) return notice("The server can't be reached.");
  // Not for a path that the key may not use, for instance.
  if (error.status === 401 || /^(Invalid root password|Your API-KEY is not online)/.test(error.message)) return signOut(error.message);
  if (error.status !== 400) return notice(error.message);
  $("filter-error").textContent = error.message;
  $("filters").open = true;
  for (const name of FIELDS) {
    $(name).setAttribute("aria-invalid", new RegExp(`\\b${name}\\b`).test(error.message) && $(name).value !== "");
  }
}

// ---------------------------------------------------------------------------------------------------------------
// The selection. It stands behind the # of the address, which no server is sent, so that it can be kept and shared.

let selection = {};
/** Ends everything that was asked for the selection in force. */
let session = new AbortController();

function choose(chosen) {
  const wanted = {};
  for (const name of FIELDS) if (chosen[name]) wanted[name] = chosen[name];
  const hash = String(new URLSearchParams(wanted));
  // Not by location.hash: its event comes later, and would take back what was typed meanwhile.
  if (location.hash.slice(1) !== hash) history.pushState(null, "", `${location.pathname}${location.search}#${hash}`);
  readHash();
  begin();
}

/** The selection of the address into the form. */
function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of FIELDS) $(name).value = wanted.get(name) ?? "";
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

/** Begins the selection that stands in the form. */
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
  paused = letGo = false;
  $("countdown").textContent = "";
  wakeUp = null;
  showState();
  if (selection.until) readOnce(session.signal);
  else tail();
}

/** A selection with an end is read; there is nothing to wait for. */
async function readOnce(signal) {
  state("Reading…");
  await loadOlder(signal);
  if (signal.aborted) return;
  state("Not live: the selection has an end");
  chart.countBack(COUNTED_FIRST, signal);
}

// ---------------------------------------------------------------------------------------------------------------
// The live tail

/** The cursor that the tail goes on from. */
let resume = null;
/** Ends the tail in force, and not what else was asked for the selection. */
let tailing = new AbortController();
/** Lines arrive. */
let live = false;
/** Records after the cursor that were rows and are counted. */
let known = 0;
/** The operator has stopped the lines, or the page had to. */
let paused = false;
/** New lines are scrolled to. */
let following = true;
/** Ends the wait for the next attempt; null = there is none. */
let wakeUp = null;

/** Server-sent events of one answer: `[id, data]`. */
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

/** Follows until the selection changes or somebody pauses, over every break. */
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
          // What the cursor named is gone; this one gives everything that is still there.
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

/** Waits, and shows it; the words are spoken once, the seconds are not. */
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
    timer = setTimeout(stop, SILENCE * 1000);
  };
  try {
    const query = { ...selection, output: "json" };
    const headers = {};
    if (resume) headers["Last-Event-ID"] = resume;
    else query.lines = PAGE;
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
      if (Date.parse(record.time) < began && ++missed > MOST_MISSED) {
        begin(`More than ${number(MOST_MISSED)} lines came meanwhile; here are the latest.`);
        return;
      }
    }
  } catch (error) {
    // An abort of ours is a break like any other.
    if (signal.aborted || !connection.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    connection.abort();
    if (!signal.aborted) live = false;
  }
}

/** Stops the tail; it goes on from the last row. */
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
        letGo = true;
      }
    }, UNSEEN * 1000);
    soon(); // frames are not drawn any more
  } else {
    wakeUp?.();
    if (letGo) goOn();
    letGo = false;
  }
});
/** The pause is not the operator's. */
let letGo = false;

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

// ---------------------------------------------------------------------------------------------------------------
// Rows

/** `{cursor, item}` of each row, oldest first; marks of a gap have no cursor. */
let rows = [];
/** Records that came and are not rows yet. */
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
/** Makes rows soon, with the next frame where frames are drawn. */
function soon() {
  if (document.hidden) timeout ||= setTimeout(flush, 200);
  else frame ||= requestAnimationFrame(flush);
}

/** Makes rows of what came. */
function flush() {
  cancelAnimationFrame(frame);
  clearTimeout(timeout);
  frame = timeout = 0;
  if (!queue.length) return;
  if (following && queue.length > MOST_ROWS) {
    // They would be rows for a moment only.
    const skipped = queue.splice(0, queue.length - MOST_ROWS);
    count(skipped);
    rows = [];
    reachedStart = false;
    $("rows").replaceChildren();
  }
  const room = following ? ROWS_A_FRAME : Math.min(ROWS_A_FRAME, MOST_ROWS - rows.length);
  const taken = queue.splice(0, Math.max(0, room));
  append(taken);
  count(taken);
  if (!following && rows.length >= MOST_ROWS) {
    // The operator looks at older lines: they stay, and the new ones wait on the server.
    hold();
  }
  if (queue.length) soon();
}

/** Those that were never rows before. */
function count(records) {
  const seen = Math.min(known, records.length);
  known -= seen;
  const fresh = records.slice(seen);
  if (!fresh.length) return;
  chart.add(fresh, session.signal);
  tell(fresh);
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
  const over = rows.length - MOST_ROWS;
  if (over <= 0) return;
  for (const row of rows.splice(0, over)) row.item.remove();
  reachedStart = false;
}

/** Puts older records, newest first, before the rows, and leaves what is seen where it is. */
function prepend(records) {
  const made = records.reverse().map(rowOf);
  const scroller = $("scroller");
  const fromBottom = scroller.scrollHeight - scroller.scrollTop;
  $("rows").prepend(...made.map((row) => row.item));
  rows = made.concat(rows);
  scroller.scrollTop = scroller.scrollHeight - fromBottom;
  if (rows.length <= MOST_ROWS) return;
  for (const row of rows.splice(MOST_ROWS)) {
    row.item.remove();
    if (row.cursor) known += 1;
  }
  hold();
}

/** The rows stay, and what comes after them waits on the server. */
function hold() {
  queue = [];
  resume = rows.findLast((row) => row.cursor)?.cursor ?? resume;
  if (selection.until) return notice(`${number(MOST_ROWS)} lines are held here; Apply brings the latest back.`);
  pause();
  notice(`${number(MOST_ROWS)} lines are held here; Follow goes on with the next ones.`);
}

async function loadOlder(signal = session.signal) {
  if (loading || reachedStart) return;
  loading = true;
  showOlder();
  const cursor = firstCursor();
  try {
    const found = [];
    for await (const record of recordsBefore(cursor, PAGE, signal)) found.push(record);
    reachedStart = found.length < PAGE;
    if (cursor) following = false;
    prepend(found);
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
  // Not `disabled`: that would take the focus away from whoever has just pressed it.
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
  const message = make("span", "message");
  const about = make("span", "about");
  show(message, record.message);
  if (record.time) {
    time.dateTime = time.title = record.time;
    time.append(make("span", "year", record.time.slice(0, 5)), record.time.slice(5, 23).replace("T", " "));
    about.append(`${record.client} · ${record.key}`, make("span", "more", ` · ${record.route} · ${record.pid} #${record.seq}`));
  } else {
    about.append("not a record"); // a line that somebody else wrote into the file
  }
  item.append(time, make("span", "level", LEVELS[level]?.toUpperCase()), message, about);
  return { cursor: record.cursor, item };
}

/** What is not seen, or makes the text around it seem another: controls, overrides of direction, invisible characters. */
const CONTROL = /([\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb])/;

function show(element, message) {
  let end = Math.min(message.length, LONG);
  for (let at = -1, line = 0; line < LONG_LINES; line++) {
    at = message.indexOf("\n", at + 1);
    if (at < 0 || at >= end) break;
    if (line === LONG_LINES - 1) end = at;
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

/** As it was sent; control characters as the file writes them. */
function put(element, text) {
  if (!CONTROL.test(text)) return element.append(text);
  text.split(CONTROL).forEach((part, index) => {
    if (index % 2 === 0) return element.append(part);
    const written = part === "\r" ? "\\r" : `\\u{${part.codePointAt(0).toString(16)}}`;
    element.append(make("span", "control", written));
  });
}

/** News for screen readers: what came within ten seconds, in one sentence. */
let told = null;
function tell(records) {
  if (!told) {
    told = { lines: 0, errors: 0 };
    setTimeout(() => {
      const { lines, errors } = told;
      told = null;
      if (!secrets) return;
      $("news").textContent = `${number(lines)} new ${lines === 1 ? "line" : "lines"}` + (errors ? `, ${number(errors)} with errors` : "");
    }, 10_000);
  }
  told.lines += records.length;
  told.errors += records.filter((record) => levelOf(record) >= 3).length;
}

// ---------------------------------------------------------------------------------------------------------------
// The chart: how many lines of each level, over time

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

class Chart {
  #element = $("chart");
  #counts = new Map(); // from a multiple of #grain, in seconds, to a number for each level
  #grain = 1;
  #zone = "Z";
  #first; // where counting back goes on
  #whole = false;
  #counting = false;
  #drawn = false;
  #from = 0;
  #step = 1;
  #bars = 0;
  #earliest = 0;
  #range = null; // the chosen bars, [where it began, where it is]

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

  /** Counts records that came by the tail; what was before the first of them is counted back. */
  add(records, signal) {
    if (!records.length) return;
    const first = this.#first === undefined;
    if (first) this.#first = records[0].cursor;
    for (const record of records) this.#count(record);
    if (first) this.countBack(COUNTED_FIRST, signal);
    this.#drawSoon();
  }

  async countBack(limit, signal) {
    if (this.#counting || this.#whole) return;
    this.#counting = true;
    this.#draw();
    try {
      let found = 0;
      for await (const record of recordsBefore(this.#first, limit, signal)) {
        if (signal.aborted) return;
        found += 1;
        this.#first = record.cursor;
        this.#count(record);
        this.#drawSoon();
      }
      this.#whole = found < limit;
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
    // Memory stays bounded however long the time is.
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
    const most = Math.max(1, ...stacks.map((numbers) => numbers.reduce((a, b) => a + b)));
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
        const height = Math.max(2, (n / most) * 92); // one error among thousands is seen
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
    this.#speak(stacks, most);
    this.#showCounts(stacks);
  }

  /** The numbers of each bar; sets how wide a bar is. */
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
    // A few seconds are not as wide as the chart.
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

  /** Seconds since 1970 as the log would write them: in its zone, not in the browser's. */
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

  #speak(stacks, most) {
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
    $("chart-most").textContent = this.#range ? `· ${text}` : `· at most ${number(most)} in ${this.#stepWords()}`;
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
$("count-more").addEventListener("click", () => chart.countBack(COUNTED_NEXT, session.signal));

// ---------------------------------------------------------------------------------------------------------------
// Download, clear, details

/** The browser keeps what comes, on the disk where it is large, and gives it to the operator as a file. */
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

// ---------------------------------------------------------------------------------------------------------------
// Light and dark, small and large

const THEMES = ["system", "light", "dark"];
let theme = "system";
function dress(wanted) {
  theme = THEMES.includes(wanted) ? wanted : "system";
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}
/** A browser may refuse to keep anything. */
function kept(...value) {
  try {
    if (value.length) localStorage.setItem("moca-theme", value[0]);
    return localStorage.getItem("moca-theme");
  } catch {
    return null;
  }
}
$("theme").addEventListener("click", () => {
  dress(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  kept(theme);
});
dress(kept());
if (matchMedia("(max-width: 46rem)").matches) $("filters").open = false;
readHash();
$("api-key").focus();
