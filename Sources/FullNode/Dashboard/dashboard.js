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
const WORN = 0.1;
const EDGES = 400;
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

// Rounded up only when it is whole: a card that has begun to wear has not all of it left
function percentLeft(share) { return share > 0.99 && share < 1 ? "over 99 %" : percent(share); }

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

function isWorn(node) { return node.card_life != null && node.card_life < WORN; }

// What is wrong with a node that answers; empty when nothing is
function complaint(node) {
  if (node.store_condition === 2) return "store cannot be written";
  if (isWorn(node)) return "card nearly worn";
  if (node.store_condition === 1) return "a write to its store failed";
  if (node.self) return "";
  if ((node.silent_ms ?? 0) > WEAK_SILENT_MS) return "silent";
  return node.reliability < WEAK_RELIABILITY ? "does little of what it is asked" : "";
}

function condition(node) {
  if (node.state === "failed" || node.state === "left") return "failed";
  return node.state === "known" || complaint(node) ? "weak" : "alive";
}

function words(node) {
  if (node.state === "failed") return "does not answer";
  if (node.state === "left") return "said goodbye";
  if (node.state === "known") return "heard of";
  return complaint(node) || (node.self ? "alive, this node" : "alive");
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
  put("town", [`network ${own.network}`, own.point?.name ?? own.place, own.region].filter(Boolean).join(" · "));
}

const HEADS = ["Node", "State", "Store used", "Shards placed", "Card left", "Hears", "Reached", "Last heard", "Reliability",
  "Cell"];
const NUMBERS = ["Shards placed", "Hears", "Reliability"];

function row(node) {
  const used = 1 - node.free;
  const meter = element("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0.2, value: used, "aria-label": "store used" });
  meter.value = used;
  const silent = silence(node);
  const cells = [
    [element("code", { title: node.id }, short(node.id)), ` ${node.kind}${node.endorsed ? ", endorsed" : ""}`],
    [element("span", { class: `state ${condition(node)}` }, words(node))],
    [element("span", {}, meter, percent(used) +
      (node.stored_bytes == null ? "" : ` of ${bytes(node.stored_bytes + node.free_bytes)}`))],
    [number.format(node.shards)],
    [element("span", { class: isWorn(node) ? "worn" : "" }, node.card_life == null ? "–" : percentLeft(node.card_life))],
    [node.hears == null || !isThere(node) ? "–" : number.format(node.hears.length)],
    [reached(node)],
    [node.self ? "–" : silent == null ? "never" : since(silent)],
    [node.self ? "–" : percent(node.reliability)],
    [String(node.cell)],
  ];
  const made = element("tr", { class: `${node.self ? "self" : ""}${node.id === chosen ? " chosen" : ""}` });
  cells.forEach((content, index) => {
    const attributes = { "data-label": HEADS[index] };
    if (NUMBERS.includes(HEADS[index])) attributes.class = "number";
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
  return choosable(made, id);
}

// Makes a drawn node one that can be chosen, by mouse and by keys
function choosable(made, id) {
  made.dataset.id = id;
  const choose = () => {
    chosen = chosen === id ? null : id;
    drawMesh();
    drawMap();
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
    `${short(node.id)}, ${node.kind} node, ${words(node)}, store ${percent(1 - node.free)} used, ${number.format(node.shards)} shards placed`
      + (node.hears == null ? "" : `, hears ${number.format(node.hears.length)} nodes`));
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

const isThere = (node) => node.state !== "failed" && node.state !== "left";

// Who hears whom: each pair once, with a class that says how. Whoever says nothing of itself is where this node has it from
function links() {
  const pairs = new Map();
  const join = (one, other, kind) => {
    const [a, b] = one.id < other.id ? [one, other] : [other, one];
    const key = a.id + b.id;
    const both = pairs.has(key) || !a.hears || !b.hears;
    pairs.set(key, { a, b, kind: kind ?? (both ? "" : " oneway") });
  };
  for (const node of nodes.values()) {
    if (!isThere(node)) continue;
    for (const id of node.hears ?? []) {
      const other = nodes.get(id);
      if (other && other !== node && isThere(other)) join(node, other);
    }
  }
  const heard = new Set([...pairs.values()].flatMap((pair) => [pair.a.id, pair.b.id]));
  for (const node of nodes.values()) {
    if (node.self || node.state === "left" || node.state === "known" && !node.hops) continue;
    const from = node.hops > 1 && nodes.get(node.relay) || own;
    if (node.state === "failed") join(from, node, " failed");
    else if (node.hops && !heard.has(node.id)) join(from, node, node.hops > 1 ? " relayed" : "");
  }
  return [...pairs.values()];
}

function drawEdges(box, places) {
  const all = links();
  const isNear = (link) => [link.a.id, link.b.id].some((id) => id === own.id || id === chosen);
  const drawn = all.length > EDGES ? all.filter((link) => isNear(link) || link.kind === " failed") : all;
  box.replaceChildren(...drawn.filter((link) => places.has(link.a.id) && places.has(link.b.id)).map((link) => {
    const [from, to] = [places.get(link.a.id), places.get(link.b.id)];
    const near = link.a.id === chosen || link.b.id === chosen ? " chosen" : isNear(link) ? "" : " far";
    return shape("line", { class: `edge${link.kind}${near}`, x1: from.x.toFixed(1), y1: from.y.toFixed(1),
      x2: to.x.toFixed(1), y2: to.y.toFixed(1) });
  }));
  return all.length - drawn.length;
}

function drawMesh() {
  if (!own || !drawing.width) return;
  layOut();
  const left = drawEdges(drawing.edges, drawing.places);
  put("mesh-note", left ? `${number.format(left)} lines between others are left out: choose a node to see whom it hears.` : "");
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

// The map: degrees as a plane (equirectangular, true to scale at its middle latitude), nothing from elsewhere

const KM_PER_DEGREE = 111.2;
const MARGIN = 46;
const map = {};

function prepareMap() {
  const box = $("map");
  [map.grid, map.edges, map.sites, map.names] = ["g", "g", "g", "g"].map((tag) => shape(tag));
  for (const hidden of [map.grid, map.edges, map.names]) hidden.setAttribute("aria-hidden", "true");
  map.svg = shape("svg", { role: "group", "aria-label": "Where the nodes say that they are" },
    map.grid, map.edges, map.sites, map.names);
  box.replaceChildren(map.svg);
  new ResizeObserver(() => {
    [map.width, map.height] = [box.clientWidth, box.clientHeight];
    map.svg.setAttribute("viewBox", `0 0 ${map.width} ${map.height}`);
    drawMap();
  }).observe(box);
}

// 1, 2 or 5 times a power of ten, not above
function roundDown(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [5, 2, 1].map((step) => step * power).find((step) => step <= value * 1.000001);
}

// How degrees become places of the drawing
function projection(placed) {
  const first = placed[0].point.longitude;
  // On the short way round the world: 179 east and 179 west are neighbours.
  const wrapped = (longitude) => first + ((longitude - first + 540) % 360) - 180;
  const [east, north] = [placed.map((node) => wrapped(node.point.longitude)), placed.map((node) => node.point.latitude)];
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const [x0, y0] = [middle(east), middle(north)];
  const shrink = Math.max(0.05, Math.cos(y0 * Math.PI / 180));
  const span = (values) => Math.max(0.004, Math.max(...values) - Math.min(...values));
  const scale = Math.min((map.width - 2 * MARGIN) / (span(east) * shrink), (map.height - 2 * MARGIN) / span(north));
  return {
    scale, shrink, x0, y0,
    x: (longitude) => map.width / 2 + (wrapped(longitude) - x0) * shrink * scale,
    y: (latitude) => map.height / 2 - (latitude - y0) * scale,
  };
}

function degreesText(value, names, step) {
  const text = Math.abs(value).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return `${text}° ${Number(text) === 0 ? "" : names[value < 0 ? 1 : 0]}`.trim();
}

function drawGrid(plane) {
  const parts = [];
  const lines = (step, middle, half, draw) => {
    for (let at = Math.ceil((middle - half) / step); at * step <= middle + half; at++) draw(at * step);
  };
  // 60 to 150 units apart, and 75 to 187, which a tick needs.
  const step = roundDown(150 / plane.scale);
  lines(step, plane.y0, map.height / 2 / plane.scale, (latitude) => {
    const y = plane.y(latitude);
    if (Math.abs(latitude) > 90 || y < 14 || y > map.height - 30) return;
    parts.push(shape("line", { class: "axis", x1: 0, x2: map.width, y1: y, y2: y }));
    parts.push(shape("text", { class: "tick", x: 6, y: y - 4 }, degreesText(latitude, "NS", step)));
  });
  const across = roundDown(187 / (plane.scale * plane.shrink));
  lines(across, plane.x0, map.width / 2 / (plane.scale * plane.shrink), (longitude) => {
    const x = plane.x(longitude);
    if (x < 60 || x > map.width - 30) return;
    parts.push(shape("line", { class: "axis", x1: x, x2: x, y1: 0, y2: map.height }));
    parts.push(shape("text", { class: "tick", x: x + 4, y: 14 }, degreesText(((longitude + 540) % 360) - 180, "EW", across)));
  });
  const length = roundDown(Math.min(160, map.width / 3) / plane.scale * KM_PER_DEGREE);
  const [end, y] = [map.width - 14, map.height - 14];
  const start = end - (length / KM_PER_DEGREE) * plane.scale;
  parts.push(shape("path", { class: "scale", d: `M${start} ${y - 5}V${y}H${end}V${y - 5}` }));
  parts.push(shape("text", { class: "name", x: start - 8, y, "text-anchor": "end" },
    length < 1 ? `${Math.round(length * 1_000)} m` : `${number.format(length)} km`));
  map.grid.replaceChildren(...parts);
  return { left: start - 60, right: map.width, top: y - 20, bottom: map.height };
}

// Nodes at one point stand around it
function layOutMap(placed, plane) {
  const places = new Map();
  const groups = new Map();
  for (const node of placed) {
    const key = `${node.point.latitude},${node.point.longitude}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  for (const members of groups.values()) {
    const [x, y] = [plane.x(members[0].point.longitude), plane.y(members[0].point.latitude)];
    const away = members.length === 1 ? 0 : Math.max(11, 4 * members.length);
    members.forEach((node, index) => {
      const angle = (2 * Math.PI * index) / members.length;
      places.set(node.id, { x: x + away * Math.cos(angle), y: y + away * Math.sin(angle) });
    });
  }
  return [places, [...groups.values()]];
}

// One name for each point, where it covers nothing; where there is no room there is none, and the list has it
function drawNames(groups, places, taken) {
  const texts = [];
  for (const members of groups) for (const node of members) {
    const { x, y } = places.get(node.id);
    taken.push({ left: x - 9, right: x + 9, top: y - 9, bottom: y + 9 });
  }
  for (const members of groups) {
    const named = members.find((node) => node.point.name);
    const text = (named?.point.name ?? short(members[0].id)) + (members.length > 1 ? ` (${members.length})` : "");
    const width = [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 12.5 : 7), 0);
    const at = members.map((node) => places.get(node.id));
    const [x, top, bottom] = [at.reduce((sum, place) => sum + place.x, 0) / at.length,
      Math.min(...at.map((place) => place.y)), Math.max(...at.map((place) => place.y))];
    const side = Math.max(...at.map((place) => place.x)) + 12;
    const boxes = [[x - width / 2, bottom + 10], [x - width / 2, top - 25], [side, (top + bottom) / 2 - 8],
      [2 * x - side - width, (top + bottom) / 2 - 8]].map(([left, above]) =>
      ({ left, right: left + width, top: above, bottom: above + 15 }));
    const free = boxes.find((box) => box.left > 2 && box.right < map.width - 2 && box.top > 2 && box.bottom < map.height - 2
      && !taken.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom));
    if (!free) continue;
    taken.push(free);
    texts.push(shape("text", { class: "name", x: free.left, y: free.top + 12 }, text));
  }
  map.names.replaceChildren(...texts);
}

function drawMap() {
  const placed = [...nodes.values()].filter((node) => node.point).sort((a, b) => (a.id < b.id ? -1 : 1));
  $("map-panel").hidden = placed.length < 2;
  if (placed.length < 2 || !own || !map.width) return;
  const plane = projection(placed);
  const [places, groups] = layOutMap(placed, plane);
  const scaleBox = drawGrid(plane);
  drawEdges(map.edges, places);
  const there = new Map([...map.sites.children].map((made) => [made.dataset.id, made]));
  for (const [id, made] of there) if (!places.has(id)) made.remove();
  for (const node of placed) {
    const made = there.get(node.id)
      ?? map.sites.appendChild(choosable(shape("circle", { tabindex: 0, role: "button", r: 7 }), node.id));
    made.setAttribute("class", `site ${condition(node)}${node.self ? " self" : ""}${node.id === chosen ? " chosen" : ""}`);
    made.setAttribute("cx", places.get(node.id).x.toFixed(1));
    made.setAttribute("cy", places.get(node.id).y.toFixed(1));
    made.setAttribute("aria-pressed", String(node.id === chosen));
    made.setAttribute("aria-label", `${short(node.id)} at ${node.place}, ${words(node)}`);
  }
  drawNames(groups, places, [scaleBox]);
  const others = sorted().filter((node) => !node.point).map((node) =>
    `${short(node.id)}${node.self ? " (this node)" : ""}${node.place ? `: ${node.place}` : ""}`);
  $("unplaced-box").hidden = others.length === 0;
  if (map.unplaced !== others.join("\n")) $("unplaced").replaceChildren(...others.map((text) => element("li", {}, text)));
  map.unplaced = others.join("\n");
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
  if (complaint(now) && complaint(now) !== complaint(before) && now.state === "alive" && complaint(now) !== "silent") {
    tell(`${name}: ${complaint(now)}`, "bad");
  }
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
  drawMap();
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
prepareMap();
setInterval(sample, 1_000);
setInterval(() => { if (own) refresh(false).catch(() => {}); }, REFRESH_MS);
run();
