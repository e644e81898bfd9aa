// Draws the mesh and what happens in it. One request tells how things are (/v1/nodes), then events say what changes; every
// ten seconds the request is made again for what changes without an event (round trips, silence).

const SAMPLES = 180;
const FEED = 60;
const PULSES = 40;
const LABELS = 60;
const REFRESH_MS = 10_000;
const SILENCE_MS = 40_000;
const WEAK_SILENT_MS = 6_000;
const WEAK_RELIABILITY = 0.5;
const SHAPES = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const still = matchMedia("(prefers-reduced-motion: reduce)");

const nodes = new Map();
const samples = [];
let own = null;
let lastEvent = null;
let chosen = null;

// What is written and drawn

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SHAPES, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

const short = (key) => key.slice(7, 13);

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; unit++) count /= 1024;
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function days(count) {
  if (!count) return "–";
  if (count < 730) return `${number.format(count)} days`;
  const years = Math.round(count / 365);
  return years > 100 ? "over 100 years" : `${years} years`;
}

function percent(share) { return `${Math.round(share * 100)} %`; }

function since(milliseconds) {
  if (milliseconds < 3_000) return "now";
  const seconds = Math.round(milliseconds / 1_000);
  if (seconds < 120) return `${seconds} s ago`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3_600)} h ago`;
}

// How a node is

function silence(node) {
  return node.silent_ms == null ? null : node.silent_ms + (node.state === "alive" ? 0 : Date.now() - node.seenAt);
}

function condition(node) {
  if (node.state === "failed" || node.state === "left") return "failed";
  if (node.self) return node.figures.store_condition ? "weak" : "alive";
  if (node.state === "known") return "weak";
  return (node.silent_ms ?? 0) > WEAK_SILENT_MS || node.reliability < WEAK_RELIABILITY ? "weak" : "alive";
}

function words(node) {
  if (node.state === "failed") return "does not answer";
  if (node.state === "left") return "said goodbye";
  if (node.state === "known") return "heard of";
  if (node.self) return node.figures.store_condition ? "store cannot be written" : "alive, this node";
  return condition(node) === "weak" ? "weak" : "alive";
}

function reached(node) {
  if (node.self || condition(node) === "failed") return "–";
  if (!node.hops) return "no way known";
  const time = node.round_trip_ms == null ? "" : `, ${node.round_trip_ms < 10 ? node.round_trip_ms.toFixed(1) : Math.round(node.round_trip_ms)} ms`;
  return node.hops === 1 ? `straight${time}` : `${node.hops} hops, by ${node.relay ? short(node.relay) : "another"}`;
}

const RANK = { failed: 0, weak: 1, alive: 2 };
const sorted = () => [...nodes.values()].sort((a, b) =>
  b.self - a.self || RANK[condition(a)] - RANK[condition(b)] || (a.id < b.id ? -1 : 1));

// The key figures and the list

function drawFigures() {
  const figures = own.figures;
  const last = samples.at(-1);
  put("rate", number.format(last ? last.accepted : 0));
  const most = Math.max(0, ...samples.map((sample) => sample.accepted));
  put("rate-sub", `peak ${number.format(most)}`);
  put("durable", figures.submitted ? `${(Math.floor(figures.durable / figures.submitted * 1_000) / 10)} %` : "–");
  put("durable-sub", `${number.format(figures.durable)} of ${number.format(figures.submitted)}`);
  const all = [...nodes.values()];
  put("alive", `${all.filter((node) => node.state === "alive").length} of ${all.length}`);
  const weak = all.filter((node) => condition(node) === "weak").length;
  put("alive-sub", weak ? `${weak} weak` : "all that answer do well");
  put("repaired", number.format(figures.retrieved));
  put("repaired-sub", `bundles repaired: ${number.format(figures.bundles_repaired)}`);
  put("store", bytes(figures.store_bytes - figures.store_free_bytes));
  put("store-sub", `of ${bytes(figures.store_bytes)}, ${percent(1 - own.free)} used`);
  put("card", days(figures.card_life_days));
  put("card-sub", figures.card_life_days ? `written so far: ${bytes(figures.written_bytes)}` : "known in some hours");
  put("town", [`network ${own.network}`, own.place, own.region].filter(Boolean).join(" · "));
}

const HEADS = ["Node", "State", "Store used", "Shards placed", "Reached", "Last heard", "Reliability", "Cell"];

function row(node) {
  const used = 1 - node.free;
  const meter = element("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0.2, value: used, "aria-label": "store used" });
  meter.value = used;
  const silent = silence(node);
  const cells = [
    [element("code", { title: node.id }, short(node.id)), ` ${node.kind}${node.endorsed ? ", endorsed" : ""}`],
    [element("span", { class: `state ${condition(node)}` }, words(node))],
    [element("span", {}, meter, percent(used))],
    [number.format(node.shards)],
    [reached(node)],
    [node.self ? "–" : silent == null ? "never" : since(silent)],
    [node.self ? "–" : percent(node.reliability)],
    [String(node.cell)],
  ];
  const made = element("tr", { class: `${node.self ? "self" : ""}${node.id === chosen ? " chosen" : ""}` });
  cells.forEach((content, index) => {
    const attributes = { "data-label": HEADS[index] };
    if (index === 3 || index === 6) attributes.class = "number";
    made.append(element("td", attributes, element("span", {}, ...content)));
  });
  return made;
}

function drawRows() { $("rows").replaceChildren(...sorted().map(row)); }

// The graph: this node in the middle, who is heard around it, the others behind who passes on to them

const drawing = { svg: null, edges: null, members: null, pulses: null, places: new Map(), width: 0, height: 0 };

function layOut() {
  const { width, height } = drawing;
  const places = new Map();
  if (own) places.set(own.id, { x: width / 2, y: height / 2, angle: 0 });
  const others = [...nodes.values()].filter((node) => !node.self).sort((a, b) => (a.id < b.id ? -1 : 1));
  const near = others.filter((node) => node.hops <= 1 && !(node.state !== "alive" && node.relay));
  const far = others.filter((node) => !near.includes(node));
  const [rx, ry] = [width / 2 - 40, height / 2 - 40];
  const inner = far.length ? 0.55 : 0.92;
  near.forEach((node, index) => {
    const angle = (2 * Math.PI * index) / Math.max(1, near.length) - Math.PI / 2;
    const reach = near.length > 24 ? inner * (index % 2 ? 0.66 : 1) : inner;
    places.set(node.id, { x: width / 2 + rx * reach * Math.cos(angle), y: height / 2 + ry * reach * Math.sin(angle), angle });
  });
  const families = new Map();
  for (const node of far) families.set(node.relay, [...(families.get(node.relay) ?? []), node]);
  for (const [relay, members] of families) {
    const middle = places.get(relay)?.angle ?? Math.PI / 2;
    const step = Math.min(0.35, (2 * Math.PI) / Math.max(8, far.length));
    members.forEach((node, index) => {
      const angle = middle + (index - (members.length - 1) / 2) * step;
      places.set(node.id, { x: width / 2 + rx * Math.cos(angle), y: height / 2 + ry * Math.sin(angle), angle });
    });
  }
  drawing.places = places;
}

function prepareMesh() {
  const box = $("mesh");
  drawing.edges = shape("g");
  drawing.pulses = shape("g", { "aria-hidden": "true" });
  drawing.members = shape("g");
  drawing.svg = shape("svg", { role: "group", "aria-label": "The mesh as this node sees it" },
    drawing.edges, drawing.pulses, drawing.members);
  box.replaceChildren(drawing.svg);
  new ResizeObserver(() => {
    [drawing.width, drawing.height] = [box.clientWidth, box.clientHeight];
    drawing.svg.setAttribute("viewBox", `0 0 ${drawing.width} ${drawing.height}`);
    drawMesh();
  }).observe(box);
}

function radius(node) {
  return node.self ? 20 : (nodes.size > LABELS ? 6 : 11) + node.capacity_class * (nodes.size > LABELS ? 0.5 : 1);
}

function makeMember(id) {
  const made = shape("g", { tabindex: 0, role: "button" },
    shape("circle", { class: "halo" }), shape("circle", { class: "track" }),
    shape("circle", { class: "used", pathLength: 1, transform: "rotate(-90)" }), shape("circle", { class: "core" }),
    shape("path", { class: "cross" }), shape("text"));
  made.dataset.id = id;
  const choose = () => {
    chosen = chosen === id ? null : id;
    drawMesh();
    drawRows();
  };
  made.addEventListener("click", choose);
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  });
  return made;
}

function drawMember(made, node) {
  const [place, r] = [drawing.places.get(node.id), radius(node)];
  const [halo, track, used, core, cross, text] = made.children;
  const lit = made.classList.contains("lit") ? " lit" : "";
  made.setAttribute("class", `member ${condition(node)}${node.self ? " self" : ""}${node.id === chosen ? " chosen" : ""}${lit}`);
  made.setAttribute("transform", `translate(${place.x.toFixed(1)} ${place.y.toFixed(1)})`);
  made.setAttribute("aria-pressed", String(node.id === chosen));
  made.setAttribute("aria-label",
    `${short(node.id)}, ${node.kind} node, ${words(node)}, store ${percent(1 - node.free)} used, ${number.format(node.shards)} shards placed`);
  halo.setAttribute("r", r * 1.9);
  track.setAttribute("r", r);
  used.setAttribute("r", r);
  // An arc of length 0 would show as a dot.
  used.setAttribute("stroke-dasharray", `${Math.max(0, 1 - node.free)} 2`);
  core.setAttribute("r", r * 0.5);
  cross.setAttribute("d", `M${-r * 0.4} ${-r * 0.4}L${r * 0.4} ${r * 0.4}M${r * 0.4} ${-r * 0.4}L${-r * 0.4} ${r * 0.4}`);
  text.setAttribute("y", r * 1.9 + 12);
  text.textContent = node.self ? "this node" : nodes.size > LABELS && node.id !== chosen ? "" : short(node.id);
}

function drawMesh() {
  if (!own || !drawing.width) return;
  layOut();
  const edges = [];
  for (const node of nodes.values()) {
    const from = drawing.places.get(node.hops > 1 && nodes.has(node.relay) ? node.relay : own.id);
    const to = drawing.places.get(node.id);
    if (node.self || node.state === "left" || (!node.hops && node.state !== "failed")) continue;
    const kind = condition(node) === "failed" ? " failed" : node.hops > 1 ? " relayed" : "";
    edges.push(shape("line", { class: `edge${kind}`, x1: from.x, y1: from.y, x2: to.x, y2: to.y }));
  }
  drawing.edges.replaceChildren(...edges);
  const there = new Map([...drawing.members.children].map((made) => [made.dataset.id, made]));
  for (const [id, made] of there) if (!nodes.has(id)) made.remove();
  for (const node of nodes.values()) {
    const made = there.get(node.id) ?? drawing.members.appendChild(makeMember(node.id));
    drawMember(made, node);
  }
}

// A light that flies from this node to who has signed for a shard
function pulse(id) {
  const [from, to] = [drawing.places.get(own.id), drawing.places.get(id)];
  if (!from || !to || from === to || still.matches || document.hidden || drawing.pulses.childElementCount >= PULSES) return;
  const dot = shape("circle", { class: "pulse", r: 3.5, cx: from.x, cy: from.y });
  drawing.pulses.append(dot);
  const made = [...drawing.members.children].find((member) => member.dataset.id === id);
  dot.animate(
    [{ transform: "none", opacity: 0.2 }, { opacity: 1, offset: 0.3 },
      { transform: `translate(${to.x - from.x}px, ${to.y - from.y}px)`, opacity: 0.9 }],
    { duration: 700 + Math.random() * 200, delay: Math.random() * 300, easing: "ease-in-out", fill: "backwards" },
  ).finished.finally(() => {
    dot.remove();
    made?.classList.add("lit");
    setTimeout(() => made?.classList.remove("lit"), 500);
  });
}

// The last three minutes

function round(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function drawFlow() {
  const box = $("flow");
  const [width, height, left, bottom] = [box.clientWidth, box.clientHeight, 44, 20];
  const top = round(Math.max(10, ...samples.map((sample) => Math.max(sample.accepted, sample.durable))));
  const x = (index) => left + ((index + SAMPLES - samples.length) / (SAMPLES - 1)) * (width - left - 6);
  const y = (value) => 8 + (1 - value / top) * (height - bottom - 8);
  const line = (name) => samples.map((sample, index) => `${x(index).toFixed(1)},${y(sample[name]).toFixed(1)}`).join(" ");
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    parts.push(shape("line", { class: "axis", x1: left, x2: width - 6, y1: y(top * share), y2: y(top * share) }));
    parts.push(shape("text", { class: "tick", x: left - 8, y: y(top * share) + 4, "text-anchor": "end" }, number.format(top * share)));
  }
  for (const minutes of [3, 2, 1]) {
    parts.push(shape("text", { class: "tick", x: x(samples.length - 1 - minutes * 60 + (minutes === 3)), y: height - 4,
      "text-anchor": minutes === 3 ? "start" : "middle" }, `−${minutes} min`));
  }
  parts.push(shape("text", { class: "tick", x: width - 6, y: height - 4, "text-anchor": "end" }, "now"));
  if (samples.length > 1) {
    parts.push(shape("polygon", { class: "area", points: `${x(0)},${y(0)} ${line("durable")} ${x(samples.length - 1)},${y(0)}` }));
    parts.push(shape("polyline", { class: "series", points: line("accepted") }));
  }
  const last = samples.at(-1) ?? { accepted: 0, durable: 0 };
  box.replaceChildren(shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Now ${last.accepted} accepted and ${last.durable} durable per second` }, ...parts));
}

// What happens

function tell(text, kind = "") {
  const now = new Date();
  const feed = $("feed");
  feed.querySelector(".none")?.remove();
  feed.prepend(element("li", {},
    element("time", { datetime: now.toISOString() }, now.toTimeString().slice(0, 8)), element("span", { class: kind }, text)));
  while (feed.childElementCount > FEED) feed.lastElementChild.remove();
}

function compare(before, now) {
  const name = short(now.id);
  if (now.state === "gone") return tell(`${name} is forgotten`, "bad");
  if (!before) return tell(now.state === "alive" ? `${name} has come` : `${name} is heard of`);
  if (before.state === now.state) return;
  if (now.state === "failed") tell(`${name} does not answer any more`, "bad");
  else if (now.state === "left") tell(`${name} has said goodbye`, "bad");
  else if (now.state === "alive") tell(before.state === "failed" ? `${name} is back` : `${name} has come`, "good");
}

function compareFigures(before, now) {
  const risen = (name) => now[name] - (before[name] ?? now[name]);
  const say = (count, one, many, kind) => { if (count > 0) tell(count === 1 ? one : many.replace("#", number.format(count)), kind); };
  say(risen("bundles_repaired"), "A bundle got its lost shards again", "# bundles got their lost shards again", "good");
  say(risen("retrieved"), "A transaction was brought back from the mesh", "# transactions were brought back from the mesh", "good");
  say(risen("bundles_failed"), "A bundle did not find enough holders in time", "# bundles did not find enough holders in time", "bad");
}

function take(node) {
  const before = nodes.get(node.id);
  node.seenAt = Date.now();
  if (node.state === "gone") nodes.delete(node.id);
  else nodes.set(node.id, node);
  if (!node.self) return compare(before, node);
  if (before) compareFigures(before.figures, node.figures);
  own = node;
  for (const [id, count] of Object.entries(node.placed ?? {})) {
    const holder = nodes.get(id);
    if (!holder || holder === own) continue;
    holder.shards += count;
    for (let light = 0; light < Math.min(count, 3); light++) pulse(id);
  }
}

let latest = null;
function sample() {
  if (!own) return;
  const now = { at: performance.now(), accepted: own.figures.submitted, durable: own.figures.durable };
  // A node that was started again counts from 0.
  if (latest && now.at - latest.at < 5_000) {
    const rate = (name) => Math.max(0, Math.round((now[name] - latest[name]) / ((now.at - latest.at) / 1_000)));
    samples.push({ accepted: rate("accepted"), durable: rate("durable") });
    if (samples.length > SAMPLES) samples.shift();
  }
  latest = now;
  drawFigures();
  drawFlow();
  drawMesh();
  drawRows();
}

// The connection

class Refused extends Error {}

function ask(path, options = {}) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (options.after) headers["Last-Event-ID"] = options.after;
  return fetch(path, { headers, cache: "no-store", signal: options.signal }).then((answer) => {
    if (answer.status === 401 || answer.status === 403) throw new Refused(token ? "The node does not take this token." : "");
    if (!answer.ok) throw new Error(`the node answered ${answer.status}`);
    return answer;
  });
}

function status(state, text) {
  if ($("status").dataset.state !== state) [$("status").dataset.state, $("status").textContent] = [state, text];
}

async function refresh(isFirst) {
  const told = await (await ask("/v1/nodes")).json();
  if (isFirst) lastEvent = told.last_event_id;
  const there = new Set(told.nodes.map((node) => node.id));
  for (const id of nodes.keys()) if (!there.has(id)) nodes.delete(id);
  for (const node of told.nodes) {
    node.seenAt = Date.now();
    nodes.set(node.id, node);
    if (node.self) own = node;
  }
  if (isFirst) sample();
}

async function listen() {
  const stop = new AbortController();
  let watchdog;
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
  };
  try {
    alive();
    const answer = await ask("/v1/events?types=node,repair_ack", { after: lastEvent, signal: stop.signal });
    status("live", "live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let event = {};
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (event.data) hear(event);
          event = {};
          continue;
        }
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function hear(event) {
  if (event.event === "dropped") return;
  lastEvent = event.id;
  const data = JSON.parse(event.data);
  if (event.event === "node") take(data);
  if (event.event === "repair_ack") tell(`${short(data.holder)} has shards of ${data.target.slice(0, 8)}…`, "good");
}

async function run() {
  for (let pause = 1_000; ; pause = Math.min(pause * 2, 8_000)) {
    try {
      await refresh(true);
      pause = 500;
      await listen();
      status("connecting", "connecting again");
    } catch (error) {
      if (error instanceof Refused) {
        status("failed", "a token is needed");
        await wanted(error.message);
        pause = 250;
      } else {
        status("failed", "the node does not answer");
      }
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

// The token

let given = () => {};
function wanted(text) {
  $("token-error").textContent = text;
  if (!$("token").open) $("token").showModal();
  return new Promise((done) => { given = done; });
}

$("open-token").addEventListener("click", () => {
  $("token-error").textContent = "";
  $("token").showModal();
});
$("token-cancel").addEventListener("click", () => $("token").close());
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token-field").value.trim();
  if (token) sessionStorage.setItem("token", token);
  else sessionStorage.removeItem("token");
  $("token-field").value = "";
  $("token").close();
  given();
});

$("feed").append(element("li", {}, element("span", { class: "none" }, "Nothing yet: members that come and go, and repairs, are told here.")));
prepareMesh();
setInterval(sample, 1_000);
setInterval(() => { if (own) refresh(false).catch(() => {}); }, REFRESH_MS);
run();
