// Keeps an open page true. The server renders everything; this only listens, and fetches the same page again when
// something has changed. Browsers allow few connections to one place, so of all open tabs one listens for the others.

const QUIET_MS = 1000; // between two fetches of a page
const ALWAYS_MS = 2000; // for views that move all the time
const DOUBT_MS = 6000; // how long the connection may be away before that is said: it comes back by itself within 3 s
const AGAIN_MS = 10_000; // until a stream that was refused is asked for again
let digest = document.body.dataset.digest;
let fetched = performance.now();
let due = 0;
let doubt = 0;

function show(state) {
  setText("verdict-words", state.verdict);
  setText("down", rate(state.receive_rate));
  setText("up", rate(state.send_rate));
  const box = document.getElementById("verdict");
  if (!box.classList.contains(state.level)) {
    box.className = `verdict ${state.level}`;
    document.getElementById("icon").href = `/assets/${state.level}.svg`;
  }
  document.title = `${document.title.split(" · ")[0]} · ${state.verdict}`;
  isThere();
  if (state.digest !== digest) {
    digest = state.digest;
    refreshSoon(QUIET_MS);
  }
}

function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

function isThere() {
  clearTimeout(doubt);
  doubt = 0;
  document.getElementById("lost").hidden = true;
}

function isAway() {
  doubt ||= setTimeout(() => { document.getElementById("lost").hidden = false; }, DOUBT_MS);
  refreshSoon(ALWAYS_MS); // is true without a stream, or says why there is none
}

function rate(bytes) {
  for (const [limit, unit] of [[1e9, "GB/s"], [1e6, "MB/s"], [1e3, "kB/s"]]) {
    if (bytes >= limit) return `${(bytes / limit).toFixed(bytes / limit < 9.95 ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(bytes)} B/s`;
}

function refreshSoon(ms) {
  if (due || document.hidden) return;
  due = setTimeout(refresh, Math.max(0, fetched + ms - performance.now()));
}

async function refresh() {
  due = 0;
  fetched = performance.now();
  let answer, text;
  try {
    answer = await fetch(location.href, { headers: { accept: "text/html" } });
    text = await answer.text();
  } catch {
    return isAway();
  }
  if (answer.status === 401) return location.reload();
  isThere();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (old) patch(old, part);
  }
  const badges = fresh.querySelector("header nav");
  if (badges) patch(document.querySelector("header nav"), badges);
  const box = fresh.getElementById("verdict-glyph");
  if (box) document.getElementById("verdict-glyph").replaceChildren(...box.childNodes);
  digest = fresh.body.dataset.digest ?? digest;
  always();
}

// Changes what differs and leaves the rest as it is: focus, open details and typed text stay.
function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const busy = old.contains(document.activeElement) && document.activeElement !== document.body;
  if (old.tagName !== fresh.tagName || (!busy && old.children.length !== fresh.children.length) || !old.children.length) {
    return old.replaceWith(document.importNode(fresh, true));
  }
  if (old.children.length !== fresh.children.length) return; // somebody is in there: next time
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const texts = (node) => [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE);
  const before = texts(old), after = texts(fresh);
  if (before.length === after.length) before.forEach((text, at) => { if (text.data !== after[at].data) text.data = after[at].data; });
  else if (!busy) return old.replaceWith(document.importNode(fresh, true));
  [...old.children].forEach((child, at) => patch(child, fresh.children[at]));
}

// The handle on the timeline says where it stands.
document.addEventListener("input", ({ target }) => {
  if (target.id === "at") document.getElementById("moment").value = new Date(target.value * 1000).toLocaleString("sv").slice(0, 16);
});

function always() {
  if (document.querySelector('[data-live="always"]')) refreshSoon(ALWAYS_MS);
}

const others = new BroadcastChannel("syncd");
others.onmessage = ({ data }) => (data ? show(data) : isAway());

function listen() {
  const stream = new EventSource("/events");
  stream.addEventListener("state", ({ data }) => {
    const state = JSON.parse(data);
    show(state);
    others.postMessage(state);
  });
  stream.onerror = () => {
    isAway();
    others.postMessage(null);
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS); // otherwise the browser asks again
  };
}

navigator.locks.request("syncd-stream", () => {
  listen();
  return new Promise(() => {}); // held until this tab goes; then another one listens
});
document.addEventListener("visibilitychange", () => refreshSoon(0));
always();
