// One sensor's signal with its expected band and the episode, as a drawing that also says itself in words.

import { html } from "./preact.js";

const WIDTH = 360, HEIGHT = 130, LEFT = 52, RIGHT = 10, TOP = 10, BOTTOM = 22;

// Seconds shown before the alert: an hour, or as long as the episode lasts.
const BEFORE = 3600;

export function Chart({ series, onset, end, words, clock }) {
  const { time, value, low, high, sensor } = shown(series, onset);
  const known = [...value, ...low, ...high].filter((v) => v !== null);
  if (time.length < 2 || known.length === 0) {
    return html`<p class="muted">${sensor}: ${words.no_signal}</p>`;
  }
  const first = time[0], last = time[time.length - 1];
  const [floor, ceiling] = padded(Math.min(...known), Math.max(...known));
  const x = (t) => LEFT + ((t - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + ((ceiling - v) / (ceiling - floor)) * (HEIGHT - TOP - BOTTOM);
  const from = x(Math.max(onset, first)), to = x(Math.min(end ?? last, last));
  const text = described(series, words);
  return html`<figure class="chart">
    <figcaption><strong>${sensor}</strong> <span>${text}</span></figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${sensor}: ${text}">
      ${to > from && html`<rect class="episode" x=${from} y=${TOP} width=${to - from} height=${HEIGHT - TOP - BOTTOM} />
        <line class="onset" x1=${from} x2=${from} y1=${TOP} y2=${HEIGHT - BOTTOM} />`}
      ${runs(time, low, high).map((run) => html`<path class="band" d=${bandPath(run, x, y)} />`)}
      <path class="signal" d=${signalPath(time, value, x, y)} />
      ${[ceiling, (ceiling + floor) / 2, floor].map((v) => html`
        <text class="tick" x=${LEFT - 6} y=${y(v) + 4} text-anchor="end">${quantity(v)}</text>`)}
      <text class="tick" x=${LEFT} y=${HEIGHT - 6}>${clock(first)}</text>
      <text class="tick" x=${WIDTH - RIGHT} y=${HEIGHT - 6} text-anchor="end">${clock(last)}</text>
    </svg>
  </figure>`;
}

export function quantity(v) {
  if (v === null || v === undefined || !Number.isFinite(v)) return "—";
  if (v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6)) return v.toExponential(1);
  return String(Number(v.toPrecision(3)));
}

function shown(series, onset) {
  const newest = series.time[series.time.length - 1];
  const from = onset - Math.max(BEFORE, newest - onset);
  const first = Math.max(0, series.time.findIndex((t) => t >= from));
  const cut = (column) => column.slice(first);
  return { sensor: series.sensor, time: cut(series.time), value: cut(series.value),
    low: cut(series.low), high: cut(series.high) };
}

function described({ value, low, high }, words) {
  const newest = value.findLast((v) => v !== null);
  const at = low.findLastIndex((v) => v !== null);
  const band = at < 0 ? words.no_band
    : words.band.replace("{low}", quantity(low[at])).replace("{high}", quantity(high[at]));
  return `${words.now.replace("{value}", quantity(newest))}; ${band}`;
}

function padded(least, most) {
  const room = (most - least || Math.abs(most) || 1) * 0.08;
  return [least - room, most + room];
}

// Stretches of samples that have a band.
function runs(time, low, high) {
  const found = [];
  let run = [];
  time.forEach((t, i) => {
    if (low[i] === null || high[i] === null) {
      if (run.length > 1) found.push(run);
      run = [];
    } else run.push([t, low[i], high[i]]);
  });
  return run.length > 1 ? [...found, run] : found;
}

function bandPath(run, x, y) {
  const upper = run.map(([t, , h]) => `${x(t).toFixed(1)} ${y(h).toFixed(1)}`);
  const lower = run.map(([t, l]) => `${x(t).toFixed(1)} ${y(l).toFixed(1)}`).reverse();
  return `M${[...upper, ...lower].join("L")}Z`;
}

// A missing value is a gap, never a bridge.
function signalPath(time, value, x, y) {
  let path = "", pen = "M";
  time.forEach((t, i) => {
    if (value[i] === null) { pen = "M"; return; }
    path += `${pen}${x(t).toFixed(1)} ${y(value[i]).toFixed(1)}`;
    pen = "L";
  });
  return path;
}
