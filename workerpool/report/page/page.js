// What the report's page does: charts, filters, sorting, light and dark. Everything that is shown without it is there
// in the page's HTML, made by page.py; the numbers of the charts are in the JSON block.
(() => {
"use strict";

const root = document.documentElement;
const find = (selector) => document.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const data = JSON.parse(find("#data").textContent);
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const HEIGHT = 200;
const charts = [];
let chosenHost = "";

// -- numbers ---------------------------------------------------------------------------------------------------------

const plain = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
const told = (unit = "") => (chart, value) => (value == null ? "–" : plain(value) + unit);

function clock(seconds) {
  const minutes = Math.floor(seconds / 60), rest = seconds - 60 * minutes, hours = Math.floor(minutes / 60);
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const tail = rest % 1 ? rest.toFixed(2).padStart(5, "0") : two(rest);
  return hours ? `${hours}:${two(minutes % 60)}:${tail}` : `${minutes}:${tail}`;
}

function duration(seconds) {
  if (seconds < 0.001) return `${plain(seconds * 1e6)} µs`;
  if (seconds < 1) return `${plain(seconds * 1e3)} ms`;
  return seconds < 120 ? `${plain(seconds)} s` : `${plain(seconds / 60)} min`;
}

// -- charts ----------------------------------------------------------------------------------------------------------

const axis = (more) => ({
  stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 },
  font: "12px system-ui, sans-serif", ...more,
});

const line = data.timeline;
const column = (name) => line.columns[name] || line.at.map(() => 0);
const rate = (name) => column(name).map((value) => value / line.width);
const constant = (value) => line.at.map(() => value);
const stepped = uPlot.paths.stepped({ align: 1 });

const timeAxis = () => axis({ values: (chart, splits) => splits.map(clock), space: 60 });
const timeSeries = { label: "time", value: (chart, value) => (value == null ? "–" : clock(value)) };

function shape(label, name, more = {}) {
  return { label, stroke: colour(name), width: 1.5, points: { show: false }, paths: stepped, value: told(), ...more };
}

const dashed = (label) => shape(label, "--muted", { dash: [6, 4], width: 1.5 });

function breaks(chart) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = colour("--muted");
  ctx.setLineDash([2, 4]);
  for (const at of line.breaks) {
    const x = chart.valToPos(at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
  }
  ctx.restore();
}

function overTime(series, values, more = {}) {
  return [{
    series: [timeSeries, ...series], axes: [timeAxis(), axis({ size: 56, values: (chart, splits) => splits.map(plain) })],
    scales: { x: { time: false }, y: { range: (chart, low, high) => [0, Math.max(1, high * 1.08)] } },
    cursor: { sync: { key: "time" }, points: { size: 6 } }, hooks: { draw: [breaks] }, ...more,
  }, [line.at, ...values]];
}

const drawings = {
  sent() {
    const series = [shape(data.sent, "--c1", { fill: colour("--bar") }), shape("ok/s", "--c2"), shape("failed/s", "--c3")];
    const values = [rate("sent"), rate("ok"), rate("failed")];
    if (data.rate) { series.push(dashed("rate allowed/s")); values.push(constant(data.rate)); }
    return overTime(series, values);
  },
  sockets() {
    const series = [shape("sockets open", "--c5", { fill: colour("--bar") }), shape("in flight", "--c1"), shape("opened/s", "--c4")];
    const values = [column("open"), column("in_flight"), rate("opened")];
    if (data.connections) { series.push(dashed("sockets allowed")); values.push(constant(data.connections)); }
    return overTime(series, values);
  },
  retries() {
    return overTime(
      [shape("retries/s", "--c4", { fill: colour("--bar") }), shape("refused/s", "--c3"), shape("put off", "--c8")],
      [rate("retried"), rate("refused"), column("parked")]);
  },
  pauses() {
    const lanes = data.pauses, count = lanes.length;
    const narrow = innerWidth < 640;
    const options = overTime([{ label: "pauses", show: false }], [constant(null)], {
      legend: { show: false }, height: 44 + 26 * count,
      scales: { x: { time: false, range: () => [0, line.at.at(-1) + line.width] }, y: { range: () => [0, count] } },
    });
    options[0].axes[1] = axis({
      size: narrow ? 90 : 170, splits: () => lanes.map((_, place) => place + 0.5), grid: { show: false }, ticks: { show: false },
      values: () => lanes.map(([host]) => (host.length > (narrow ? 12 : 24) ? host.slice(0, narrow ? 11 : 23) + "…" : host)),
    });
    options[0].hooks = { draw: [breaks, (chart) => {
      const { ctx, bbox } = chart;
      ctx.save();
      ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
      ctx.fillStyle = colour("--c4");
      lanes.forEach(([, spans], place) => {
        const top = chart.valToPos(place + 0.82, "y", true), bottom = chart.valToPos(place + 0.18, "y", true);
        for (const [from, to] of spans) {
          const left = chart.valToPos(from, "x", true), right = chart.valToPos(to, "x", true);
          ctx.fillRect(left, top, Math.max(2, right - left), bottom - top);
        }
      });
      ctx.restore();
    }] };
    return options;
  },
  waits() {
    const large = data.waits.filter(([name, , share]) => line.columns[name] && share >= 0.005).slice(0, 8);
    const names = large.reverse();
    const sums = line.at.map((_, at) => names.reduce((sum, [name]) => sum + line.columns[name][at], 0));
    const shares = names.map(([name]) => line.columns[name].map((value, at) => (sums[at] ? (100 * value) / sums[at] : 0)));
    const stacked = [];
    shares.forEach((share, place) => stacked.push(share.map((value, at) => value + (place ? stacked[place - 1][at] : 0))));
    const series = names.map(([, words], place) => shape(words, `--c${names.length - place}`, {
      fill: colour(`--c${names.length - place}`), width: 0,
      value: (chart, value, index, at) => (at == null ? "–" : `${plain(shares[place][at])}%`),
    }));
    // The highest first, so that each is drawn over the one that it stands on.
    return overTime(series.reverse(), stacked.reverse(), {
      scales: { x: { time: false }, y: { range: () => [0, 100] } },
    });
  },
  latency() {
    const host = data.hosts[chosenHost], bars = host ? host.bars : [];
    const keys = [...new Set([...data.bars, ...bars].map(([end]) => end.toPrecision(6)))].sort((a, b) => a - b);
    const share = (of) => {
      const counts = new Map(of.map(([end, count]) => [end.toPrecision(6), count]));
      const total = of.reduce((sum, [, count]) => sum + count, 0) || 1;
      return keys.map((key) => (100 * (counts.get(key) || 0)) / total);
    };
    const width = Math.log10(data.growth);
    const bar = (label, name, more) => shape(label, name, {
      fill: colour(name) + "66", paths: uPlot.paths.bars({ size: [0.92], align: 0 }), value: told("%"), ...more,
    });
    const series = [{ label: "took", value: (chart, value) => (value == null ? "–" : `to ${duration(10 ** (value + width / 2))}`) },
      bar("all attempts", "--c1")];
    const values = [keys.map((key) => Math.log10(key) - width / 2), share(data.bars)];
    if (host) { series.push(shape(chosenHost, "--c3", { width: 2, value: told("%") })); values.push(share(bars)); }
    const marks = (host && host.latency) || data.latency;
    return [{
      series, cursor: { points: { size: 6 } },
      scales: {
        x: { time: false, range: (chart, low, high) => [low - width, high + width] },
        y: { range: (chart, low, high) => [0, high * 1.15 || 1] },
      },
      axes: [
        axis({ splits: decades, values: (chart, splits) => splits.map((value) => duration(10 ** value)), space: 40 }),
        axis({ size: 56, values: (chart, splits) => splits.map((value) => `${plain(value)}%`) }),
      ],
      hooks: { draw: [(chart) => percentiles(chart, marks)] },
    }, values];
  },
};

function decades(chart, index, low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const part of high - low < 2 ? [1, 2, 5] : [1]) {
      const at = power + Math.log10(part);
      if (at >= low && at <= high) found.push(at);
    }
  }
  return found;
}

function percentiles(chart, marks) {
  const { ctx, bbox } = chart, scale = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.fillStyle = ctx.strokeStyle = colour("--ink");
  ctx.setLineDash([3 * scale, 3 * scale]);
  let lowest = -Infinity, row = 0;
  for (const [name, value] of [["p50", marks.p50], ["p95", marks.p95], ["p99", marks.p99]]) {
    if (!value) continue;
    const x = chart.valToPos(Math.log10(value), "x", true), text = `${name} ${duration(value)}`;
    row = x < lowest ? row + 1 : 0;
    lowest = x + ctx.measureText(text).width + 12 * scale;
    const isLate = lowest > bbox.left + bbox.width;
    ctx.textAlign = isLate ? "right" : "left";
    ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    ctx.fillText(text, x + (isLate ? -5 : 5) * scale, bbox.top + (14 + 15 * row) * scale);
  }
  ctx.restore();
}

function draw() {
  while (charts.length) charts.pop().destroy();
  for (const place of all(".chart")) {
    const [options, values] = drawings[place.dataset.chart]();
    const legend = options.legend || { live: true };
    const chart = new uPlot(
      { width: place.clientWidth, height: HEIGHT, padding: [10, 12, 0, 0], ...options, legend }, values, place);
    place.dataset.drawn = "yes";
    for (const label of all(".u-series th", place).slice(1)) reachable(label);
    charts.push(chart);
  }
}

// uPlot's legend shows and hides a line by a click: here also by the keyboard.
function reachable(label) {
  label.tabIndex = 0;
  label.setAttribute("role", "button");
  label.setAttribute("aria-pressed", "true");
  const turn = () => label.setAttribute("aria-pressed", String(!label.parentElement.classList.contains("u-off")));
  label.addEventListener("click", () => setTimeout(turn));
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  });
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  draw();
});

// -- light and dark --------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = find("#theme");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

function dress(name) {
  if (name) root.dataset.theme = name;
  theme.textContent = isDark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  draw();
}

theme.hidden = false;
theme.addEventListener("click", () => dress(isDark() ? "light" : "dark"));
dark.addEventListener("change", () => dress());

addEventListener("beforeprint", () => {
  for (const one of all("details.reason")) one.open = true;
  dress("light");
});

// -- filters ---------------------------------------------------------------------------------------------------------

const form = find("#filter");
const [host, reason, words] = ["host", "reason", "words"].map((name) => form.elements[name]);

function is(row, key, value) {
  return !value || (row.dataset[key] || "").split("\n").includes(value);
}

function filter() {
  const sought = words.value.trim().toLowerCase();
  let shown = 0, of = 0;
  for (const row of all("#failures tbody tr")) {
    row.hidden = !(is(row, "host", host.value) && is(row, "reason", reason.value)
      && (!sought || row.textContent.toLowerCase().includes(sought)));
    shown += !row.hidden;
    of += 1;
  }
  for (const group of all("#failures details.reason")) {
    const some = all("tbody tr", group).some((row) => !row.hidden);
    group.hidden = !some;
    if (some && (host.value || reason.value || sought)) group.open = true;
  }
  for (const row of all("#hosts tbody tr")) {
    row.hidden = !(is(row, "host", host.value) && is(row, "reason", reason.value)
      && (!sought || row.dataset.host.toLowerCase().includes(sought)));
  }
  for (const row of all("#phases tbody tr")) row.hidden = Boolean(host.value) && row.dataset.host !== host.value;
  for (const row of all("#phases tbody tr:not([data-host])")) row.hidden = false;
  form.querySelector("output").textContent = of
    ? `${plain(shown)} of ${plain(of)} failures that are listed are shown.${numbers()}` : numbers();
  if (chosenHost !== host.value) {
    chosenHost = host.value;
    phases();
    draw();
  }
}

function numbers() {
  const found = data.hosts[host.value];
  if (!found) return "";
  const failed = reason.value ? found.reasons[reason.value] || 0 : found.failed;
  return ` ${host.value}: ${plain(found.requests)} requests, ${plain(failed)} failed${reason.value ? " for that reason" : ""}.`;
}

// The phases of the chosen host, in rows of their own below those of all hosts.
function phases() {
  const body = find("#phases tbody");
  if (!body) return;
  for (const row of all("tr[data-host]", body)) row.remove();
  const found = data.hosts[chosenHost];
  for (const [name, count, total, ...times] of found ? found.phases : []) {
    const row = body.insertRow();
    row.dataset.host = chosenHost;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = `${name} (${chosenHost})`;
    row.append(head);
    for (const text of [plain(count), duration(total), "", ...times.map(duration)]) {
      const cell = row.insertCell();
      cell.className = "number";
      cell.textContent = text;
    }
  }
}

form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));

// -- tables ----------------------------------------------------------------------------------------------------------

for (const cell of all("td[data-share]")) cell.style.setProperty("--share", `${cell.dataset.share}%`);

function worth(cell) {
  const [, number, unit] = /^([\d.,]+)\s*(\S*)/.exec(cell.textContent) || [null, "", ""];
  if (!number) return cell.tagName === "TH" ? cell.textContent : -1;
  const seconds = { "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 }[unit] || 1;
  return cell.tagName === "TH" ? cell.textContent : Number(number.replaceAll(",", "")) * seconds;
}

for (const table of all("table.sortable")) {
  all("thead th", table).forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const isDown = head.getAttribute("aria-sort") !== "descending";
      for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = all("tbody tr", table).map((row) => [worth(row.cells[place]), row]);
      rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (isDown ? -1 : 1));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

filter();
dress();
root.dataset.ready = "yes";
})();
