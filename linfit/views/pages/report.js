"use strict";
// The page's own script: a table of all fits that sorts, filters and turns pages, and Plotly, which is unpacked after the text is shown.
const data = JSON.parse(document.getElementById("data").textContent);
const {titles, columns, numbers, rounded, terms, run} = data.table, PAGE = 100, PRINTED = 1000, DIGITS = 3, ID = 12;
const total = columns.length ? columns[0].length : 0;
let shown = Array.from({length: total}, (_, i) => i), page = 0, by = data.sorted, down = data.descending, size = PAGE;
let wrong = []; // with what is looked for
let texts = null; // each row in small letters, made when something is first looked for

function text(value) {
  return value === null ? "" : String(value);
}

function short(value) { // with three digits, written as in the leaderboard
  const [mantissa, power] = value.toExponential(DIGITS - 1).split("e").map(Number);
  if (power >= -4 && power < 6) return text(Number(value.toPrecision(DIGITS)));
  return `${mantissa}e${power < 0 ? "-" : "+"}${text(Math.abs(power)).padStart(2, "0")}`;
}

function order(i, j) {
  const a = columns[by][i], b = columns[by][j];
  if (a === b) return i - j;
  if (a === null || b === null) return a === null ? 1 : -1; // what has no value stands last, both ways
  const sign = down ? -1 : 1;
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * text(a).localeCompare(text(b), undefined, {numeric: true}) || i - j;
}

function place_of(name) { // of a column, by its name or, where no other ends so, by the last part of it: lr
  const ends = titles.filter(title => title.endsWith(`.${name}`));
  return titles.includes(name) || ends.length !== 1 ? titles.indexOf(name) : titles.indexOf(ends[0]);
}

function condition(word) { // which rows have it; and what is wrong with it is said
  const [, name, sign, wanted] = word.match(/^(.+?)(<=|>=|!=|==|<|>|=)(.+)$/) ?? [], place = name ? place_of(name) : -1;
  if (place < 0) {
    texts ??= rows();
    const holds = i => texts[i].includes(word.toLowerCase());
    if (name && !shown.some(holds)) wrong.push(`no column ${name}`);
    return holds;
  }
  const column = columns[place], number = Number(wanted), same = sign.includes("=") && !/[<>]/.test(sign);
  const numeric = column.every(value => value === null || typeof value === "number");
  if (numeric && Number.isNaN(number)) wrong.push(`${wanted} is no number`);
  else if (!same && !numeric) wrong.push(`${titles[place]} is no column of numbers`);
  return i => {
    const value = column[i], equal = typeof value === "number" ? value === number : text(value) === wanted;
    if (same) return equal === (sign !== "!=");
    return typeof value === "number" && {"<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number}[sign];
  };
}

function rows() {
  return Array.from({length: total}, (_, i) => columns.map(column => text(column[i])).join(" ").toLowerCase());
}

function select() {
  wrong = [];
  shown = Array.from({length: total}, (_, i) => i);
  const conditions = document.getElementById("filter").value.split(/\s+/).filter(Boolean).map(condition);
  shown = shown.filter(i => conditions.every(holds => holds(i)));
  shown.sort(order);
  page = 0;
  draw();
}

function sort_by(place) {
  down = place === by && !down;
  by = place;
  shown.sort(order);
  page = 0;
  draw();
}

function head(kind) { // not with every order: a button that is made anew loses the focus
  const line = document.createElement("tr");
  titles.forEach((title, place) => {
    const cell = document.createElement("th"), name = document.createElement(kind);
    cell.scope = "col";
    cell.className = numbers[place] ? "number" : "";
    name.textContent = title;
    name.title = terms[title];
    name.onclick = () => sort_by(place);
    cell.append(name);
    line.append(cell);
  });
  document.querySelector("#table thead").replaceChildren(line);
}

function mark_order() {
  document.querySelectorAll("#table th").forEach((cell, place) => {
    const name = cell.firstChild;
    if (place === by) {
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      name.dataset.arrow = down ? "▼" : "▲";
    } else {
      cell.removeAttribute("aria-sort");
      delete name.dataset.arrow;
    }
  });
}

// Where this page may open another one: MLflow's UI shows it in a frame that may not.
const framed = window !== window.top;

function fill(cell, place, value) {
  const said = text(value);
  cell.textContent = said;
  if (rounded[place] && typeof value === "number") cell.textContent = short(value);
  if (titles[place] === "run_id" && said) {
    const id = document.createElement(run && !framed ? "a" : "code");
    id.textContent = said.slice(0, ID);
    if (run && !framed) {
      id.href = run.start + said + run.end;
      id.target = "_blank";
      id.rel = "noopener noreferrer";
    }
    cell.replaceChildren(id);
  }
  if (cell.textContent !== said) cell.title = said;
}

function draw() {
  const last = Math.max(0, Math.ceil(shown.length / size) - 1);
  page = Math.min(Math.max(page, 0), last);
  mark_order();
  const lines = shown.slice(page * size, (page + 1) * size).map(i => {
    const line = document.createElement("tr");
    columns.forEach((column, place) => {
      const cell = document.createElement("td");
      if (numbers[place]) cell.className = "number";
      fill(cell, place, column[i]);
      line.append(cell);
    });
    return line;
  });
  document.querySelector("#table tbody").replaceChildren(...lines);
  document.getElementById("count").textContent =
    [`${shown.length} of ${total} fits${shown.length > size ? `, page ${page + 1} of ${last + 1}` : ""}`, ...wrong].join("; ");
  // Not `disabled`, which would take the focus from the button.
  document.getElementById("back").setAttribute("aria-disabled", page === 0);
  document.getElementById("on").setAttribute("aria-disabled", page === last);
}

function turn(pages) {
  page += pages;
  draw();
}

document.getElementById("filter").oninput = select;
document.getElementById("back").onclick = () => turn(-1);
document.getElementById("on").onclick = () => turn(1);
head("button");
select();

// ---- print: all that is folded open, and more rows than a screen has ----

let opened = [], before = 0;

window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
  before = page;
  size = PRINTED;
  page = 0;
  head("span"); // a table with a button in its head does not repeat the head on every page
  draw();
});

window.addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
  size = PAGE;
  page = before;
  head("button");
  draw();
});

// ---- the pictures ----

async function unpacked(coded) {
  const bytes = Uint8Array.from(atob(coded), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// No button of a chart's sends it anywhere, and none has an address to send it to.
const CHART = {responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: ""};
const dark = matchMedia("screen and (prefers-color-scheme: dark)");
const NAMED = {white: "#ffffff", black: "#000000"}, GREY = 16, INK = 230, GROUND = 24;

function darkened(color) { // a grey by how light it is, all other colours as they are
  const [, hex, share] = (NAMED[color] ?? color).match(/^#([0-9a-f]{6})$|^rgba\((\d+, ?\d+, ?\d+)/i) ?? [];
  if (!hex && !share) return color;
  const parts = hex ? hex.match(/../g).map(part => parseInt(part, 16)) : share.split(",").map(Number);
  if (Math.max(...parts) - Math.min(...parts) > GREY) return color;
  const grey = Math.round(INK - (parts[0] / 255) * (INK - GROUND));
  return hex ? `rgb(${grey},${grey},${grey})` : color.replace(share, [grey, grey, grey].join(","));
}

function recolored(part, key = "") {
  if (Array.isArray(part)) return part.map(one => recolored(one, key));
  if (part !== null && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([name, one]) => [name, recolored(one, name)]));
  return typeof part === "string" && /color/.test(key) ? darkened(part) : part;
}

function themed({data, layout}) {
  // What stands on the cells of a heat map stays: the cells have the same colours in the dark.
  if (!dark.matches) return [structuredClone(data), structuredClone(layout)];
  const on_cells = data.some(trace => trace.type === "heatmap");
  const traces = on_cells ? structuredClone(data) : recolored(data);
  const ground = `rgb(${GROUND},${GROUND},${GROUND})`, ink = `rgb(${INK},${INK},${INK})`;
  const look = {
    paper_bgcolor: ground,
    font: {...layout.font, color: ink},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: "#999999", activecolor: ink},
  };
  return [traces, {...recolored(layout), ...look}];
}

async function paint(i) {
  const place = document.getElementById(`chart-${i}`), [traces, layout] = themed(data.charts[i]);
  place.parentElement.classList.add("drawn");
  await Plotly.react(place, traces, layout, CHART);
}

async function pictures() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly").textContent.trim());
  document.head.append(script);
  await repaint();
  dark.addEventListener("change", repaint);
}

async function repaint() {
  for (const [i, chart] of data.charts.entries()) {
    if (chart === null) continue;
    await new Promise(resolve => setTimeout(resolve)); // between two charts the page answers
    await paint(i);
  }
}

function drawn() {
  document.body.dataset.drawn = String(Math.round(performance.now())); // milliseconds since the page was asked for
}

pictures().then(drawn).catch(error => {
  const said = document.createElement("p");
  said.textContent = `This browser cannot draw the pictures so that they can be pointed at: ${error}`;
  document.querySelector(".charts").before(said);
  for (const place of document.querySelectorAll(".drawn")) place.classList.remove("drawn");
});
