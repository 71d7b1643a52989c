"use strict";
// The page's own script: a table of all fits that sorts, filters and turns pages, and Plotly, which is unpacked after the text is shown.
const data = JSON.parse(document.getElementById("data").textContent);
const {titles, columns} = data.table, PAGE = 100;
const total = columns.length ? columns[0].length : 0;
let shown = Array.from({length: total}, (_, i) => i), page = 0, by = data.sorted, down = false;
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

function condition(word) {
  const parts = word.match(/^(.+?)(<=|>=|<|>|=)(.+)$/), place = parts ? titles.indexOf(parts[1]) : -1;
  if (place < 0) {
    texts ??= rows();
    return i => texts[i].includes(word.toLowerCase());
  }
  const column = columns[place], number = Number(parts[3]), numeric = !Number.isNaN(number);
  return i => {
    const value = column[i];
    if (parts[2] === "=") return numeric && typeof value === "number" ? value === number : text(value) === parts[3];
    if (typeof value !== "number" || !numeric) return false;
    return {"<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number}[parts[2]];
  };
}

function rows() {
  return Array.from({length: total}, (_, i) => columns.map(column => text(column[i])).join(" ").toLowerCase());
}

function select() {
  const conditions = document.getElementById("filter").value.split(/\s+/).filter(Boolean).map(condition);
  shown = [];
  for (let i = 0; i < total; i++) if (conditions.every(holds => holds(i))) shown.push(i);
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
    for (const column of columns) {
      const cell = document.createElement("td");
      cell.textContent = text(column[i]);
      line.append(cell);
    }
    return line;
  });
  document.querySelector("#table tbody").replaceChildren(...lines);
  document.getElementById("count").textContent =
    `${shown.length} of ${total} fits${shown.length > PAGE ? `, page ${page + 1} of ${last + 1}` : ""}`;
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

async function pictures() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly").textContent.trim());
  document.head.append(script);
  for (const [i, chart] of data.charts.entries()) {
    await new Promise(requestAnimationFrame); // between two charts the page answers
    await Plotly.newPlot(`chart-${i}`, chart.data, chart.layout, {responsive: true, displaylogo: false});
  }
}

function drawn() {
  document.body.dataset.drawn = String(Math.round(performance.now())); // milliseconds since the page was asked for
}

pictures().then(drawn).catch(error => {
  for (const place of document.querySelectorAll(".chart")) place.textContent = `This browser cannot draw the pictures: ${error}`;
});
