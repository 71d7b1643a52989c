"use strict";
// The page's own script: a table of all fits that sorts, filters and turns pages, and Plotly, which is unpacked after the text is shown.
const data = JSON.parse(document.getElementById("data").textContent);
const {titles, columns} = data.table, PAGE = 100, ID = 12;
const total = columns.length ? columns[0].length : 0;
let shown = Array.from({length: total}, (_, i) => i), page = 0, by = data.sorted, down = false;
let wrong = []; // with what is looked for
let texts = null; // each row in small letters, made when something is first looked for

function text(value) {
  return value === null ? "" : String(value);
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
  const numbers = column.every(value => value === null || typeof value === "number");
  if (numbers && Number.isNaN(number)) wrong.push(`${wanted} is no number`);
  else if (!same && !numbers) wrong.push(`${titles[place]} is no column of numbers`);
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

function draw() {
  const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  page = Math.min(Math.max(page, 0), last);
  const head = document.createElement("tr");
  titles.forEach((title, i) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    button.textContent = title + (i === by ? (down ? " ▼" : " ▲") : "");
    if (i === by) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    button.onclick = () => { down = i === by && !down; by = i; shown.sort(order); page = 0; draw(); };
    cell.append(button);
    head.append(cell);
  });
  document.querySelector("#table thead").replaceChildren(head);
  const lines = shown.slice(page * PAGE, (page + 1) * PAGE).map(i => {
    const line = document.createElement("tr");
    columns.forEach((column, place) => {
      const cell = document.createElement("td"), said = text(column[i]), long = titles[place] === "run_id";
      cell.textContent = long ? said.slice(0, ID) : said;
      if (long) cell.title = said;
      line.append(cell);
    });
    return line;
  });
  document.querySelector("#table tbody").replaceChildren(...lines);
  document.getElementById("count").textContent =
    [`${shown.length} of ${total} fits${shown.length > PAGE ? `, page ${page + 1} of ${last + 1}` : ""}`, ...wrong].join("; ");
  document.getElementById("back").disabled = page === 0;
  document.getElementById("on").disabled = page === last;
}

document.getElementById("filter").oninput = select;
document.getElementById("back").onclick = () => { page--; draw(); };
document.getElementById("on").onclick = () => { page++; draw(); };
select();

async function unpacked(coded) {
  const bytes = Uint8Array.from(atob(coded), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// No button of a chart's sends it anywhere, and none has an address to send it to.
const CHART = {responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: ""};

async function pictures() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly").textContent.trim());
  document.head.append(script);
  for (const [i, chart] of data.charts.entries()) {
    await new Promise(requestAnimationFrame); // between two charts the page answers
    await Plotly.newPlot(`chart-${i}`, chart.data, chart.layout, CHART);
  }
}

function drawn() {
  document.body.dataset.drawn = String(Math.round(performance.now())); // milliseconds since the page was asked for
}

pictures().then(drawn).catch(error => {
  for (const place of document.querySelectorAll(".chart")) place.textContent = `This browser cannot draw the pictures: ${error}`;
});
