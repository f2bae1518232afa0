// The andon board: draws what /events tells, sends what people say to /commands.
// Preact keeps what has not changed in place, so focus and reading position survive every update.

import { html, render, useEffect, useRef, useState } from "./preact.js";
import { Chart } from "./chart.js";
import { HEADINGS, LANGUAGES, WORDS } from "./words.js";

const TOKEN = document.querySelector('meta[name="andon-token"]').content;
const CHARTED_CASES = 6;
const MANY = 40;  // lamps: from here on they are small
const LOSSES = 12;  // machines whose losses are shown unasked
const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
let zone = HERE, today = "";  // in which times are told, and the data's own day there

// Each state has a shape, a word and a colour, so that none of them is needed alone.
const SHAPES = {
  high: () => html`<path d="M16 2 30 28H2Z" /><path class="cut" d="M14.5 11h3v9h-3zM14.5 22h3v3h-3z" />`,
  medium: () => html`<path d="M16 1 31 16 16 31 1 16Z" /><path class="cut" d="M14.5 8h3v10h-3zM14.5 20h3v3h-3z" />`,
  low: () => html`<path d="M10 2h12l8 8v12l-8 8H10l-8-8V10Z" /><path class="cut" d="M14.5 8h3v3h-3zM14.5 13h3v11h-3z" />`,
  sensor: () => html`<path d="M3 3h26v26H3Z" /><path class="cut" d="m9 11 2-2 5 5 5-5 2 2-5 5 5 5-2 2-5-5-5 5-2-2 5-5z" />`,
  trusted: () => html`<circle cx="16" cy="16" r="14" /><path class="cut" d="m8 16 2.2-2.2 4 4 8-8L24.4 12 14.2 22.2z" />`,
  learning: () => html`<circle cx="16" cy="16" r="12" class="ring" /><circle cx="16" cy="16" r="4" />`,
  warming: () => html`<circle cx="16" cy="16" r="12" class="ring dashed" />`,
  blind: () => html`<circle cx="16" cy="16" r="12" class="ring" /><path d="M6 24 24 6l2 2L8 26z" />`,
};

function useBoard() {
  const [board, setBoard] = useState(null);
  const [live, setLive] = useState(false);
  useEffect(() => {
    const events = new EventSource("/events");
    events.onopen = () => setLive(true);
    events.onerror = () => setLive(false);
    events.onmessage = (event) => { setLive(true); setBoard(JSON.parse(event.data)); };
    return () => events.close();
  }, []);
  return [board, live];
}

function kept(name, fallback) {
  try { return localStorage.getItem(`andon-${name}`) ?? fallback; } catch { return fallback; }
}

function keep(name, value) {
  try { localStorage.setItem(`andon-${name}`, value); } catch { /* a browser that keeps nothing */ }
}

function useNarrow() {
  const [query] = useState(() => matchMedia("(max-width: 600px)"));
  const [narrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const look = () => setNarrow(query.matches);
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, []);
  return narrow;
}

function Page() {
  const [board, live] = useBoard();
  const [language, setLanguage] = useState(
    () => WORDS[kept("language", "")] ? kept("language", "") : document.documentElement.dataset.language);
  const [name, setName] = useState(() => kept("name", ""));
  const [notice, setNotice] = useState("");
  const [times, setTimes] = useState(() => kept("times", HERE));
  const words = WORDS[language] ?? WORDS.en;
  zone = times === "UTC" ? "UTC" : HERE;
  today = board ? moment(board.time).date : "";
  useEffect(() => { document.documentElement.lang = language; }, [language]);
  useEffect(() => {
    const timer = setTimeout(() => setNotice(""), 10_000);
    return () => clearTimeout(timer);
  }, [notice]);
  const news = useNews(board, language, words);
  const tell = async (kind, asset, more, what) => {
    try {
      const answer = await fetch("/commands", {
        method: "POST", headers: { "Content-Type": "application/json", "X-Andon-Token": TOKEN },
        body: JSON.stringify({ kind, asset, by: name, ...more }),
      });
      if (!answer.ok) throw new Error((await answer.text()).trim());
      setNotice(filled(words.sent, { what, asset }));
    } catch (error) { setNotice(filled(words.failed, { why: error.message })); }
  };
  useEffect(() => { document.title = board ? headline(board, words) : "andon"; }, [board, words]);
  return html`
    <a class="skip" href="#cases">${words.skip}</a>
    <header>
      <h1><img src="/icon.svg" alt="" width="28" height="28" /> ${words.title}</h1>
      <p class="summary">${board && html`<${Summary} board=${board} words=${words} />`}</p>
      <p class=${live ? "link live" : "link lost"} role="status">
        <span aria-hidden="true">${live ? "●" : "✕"}</span> ${live ? words.connected : words.lost}
        ${board?.time > 0 && html`<span class="muted"> · ${filled(words.data_until, { time: clock(board.time, true) })}</span>`}</p>
      <div class="who">
        ${TOKEN && html`<label>${words.your_name} <input value=${name} maxlength="60" autocomplete="name"
          onInput=${(e) => { setName(e.target.value); keep("name", e.target.value); }} /></label>`}
        <label>${words.language} <select value=${language}
          onChange=${(e) => { setLanguage(e.target.value); keep("language", e.target.value); }}>
          ${Object.entries(LANGUAGES).map(([code, own]) => html`
            <option value=${code} lang=${code} selected=${code === language}>${own}</option>`)}</select></label>
        ${HERE !== "UTC" && html`<label>${words.times} <select class="times" value=${zone}
          onChange=${(e) => { setTimes(e.target.value); keep("times", e.target.value); }}>
          ${[HERE, "UTC"].map((one) => html`
            <option value=${one} selected=${one === zone}>${one.replaceAll("_", " ")}</option>`)}</select></label>`}
      </div>
    </header>
    <p class="spoken" role="log" aria-live="polite">${news}</p>
    <p class=${notice ? "notice" : "spoken"} role="status">${notice}</p>
    ${!TOKEN && html`<p class="notice">${words.read_only}</p>`}
    ${board && html`<main class=${board.lamps.length > MANY ? "many" : ""}>
      <${Line} board=${board} words=${words} />
      <${Cases} board=${board} words=${words} language=${language} tell=${tell} />
      <${Losses} board=${board} words=${words} language=${language} />
      <${Over} board=${board} words=${words} language=${language} />
    </main>`}`;
}

function Summary({ board, words }) {
  const order = ["high", "medium", "low", "sensor", "trusted", "learning", "warming", "blind"];
  return html`${order.filter((state) => board.states[state]).map((state) => html`
    <span class="count ${state}" key=${state}><${Shape} state=${state} /> ${board.states[state]} ${words[state]}</span>`)}
    ${board.alarms.flood && html`<span class="count high">${words.flood}</span>`}`;
}

function Line({ board, words }) {
  const many = board.lamps.length > MANY, narrow = useNarrow();
  const aside = (lamp) => many && narrow && lamp.state === "trusted";  // a phone shows what matters
  const list = (lamps) => html`<ul class="lamps ${many ? "many" : ""}">${lamps.map((lamp) => html`
      <li key=${lamp.asset}><${Lamp} lamp=${lamp} words=${words} /></li>`)}</ul>`;
  const rest = board.lamps.filter(aside);
  return html`<section class="line" aria-labelledby="line"><h2 id="line">${words.line}</h2>
    ${board.lamps.length === 0 && html`<p class="muted">${words.no_machines}</p>`}
    ${list(board.lamps.filter((lamp) => !aside(lamp)))}
    ${rest.length > 0 && html`<details class="rest"><summary>${rest.length} ${words.trusted}</summary>${list(rest)}</details>`}
    ${board.lamps_left_out > 0 && html`<p class="muted">${filled(words.more, { n: board.lamps_left_out })}</p>`}
    <p class="muted">${filled(words.day, { n: board.alarms.day })}</p></section>`;
}

function Lamp({ lamp, words }) {
  const marks = [
    lamp.acknowledged && words.acknowledged,
    shelf(lamp, words),
    lamp.blind > 0 && lamp.condition !== "warming" && filled(words.blind_sensors, { n: lamp.blind }),
  ].filter(Boolean);
  const quiet = lamp.acknowledged || lamp.shelved !== null;
  const inside = html`<${Shape} state=${lamp.state} />
    <span class="asset">${lamp.asset}</span> <span class="state">${words[lamp.state]}</span>
    ${marks.length > 0 && html` <span class="mark">${marks.join(", ")}</span>`}`;
  const calm = ["trusted", "learning", "warming"].includes(lamp.state) && marks.length === 0;
  const look = `lamp ${lamp.state} ${quiet ? "quiet" : ""} ${calm ? "calm-lamp" : ""}`;
  return lamp.cases > 0
    ? html`<a class=${look} href="#case-${slug(lamp.asset)}" data-asset=${lamp.asset} data-state=${lamp.state}>${inside}</a>`
    : html`<div class=${look} data-asset=${lamp.asset} data-state=${lamp.state}>${inside}</div>`;
}

function Shape({ state }) {
  return html`<svg class="shape ${state}" viewBox="0 0 32 32" aria-hidden="true">${SHAPES[state]()}</svg>`;
}

function Cases({ board, words, language, tell }) {
  const seen = new Set();
  return html`<section class="cases" id="cases" tabindex="-1" aria-labelledby="cases-title">
    <h2 id="cases-title">${words.cases}</h2>
    ${board.cases.length === 0 && html`<p class="calm"><${Shape} state="trusted" /> ${words.no_cases}</p>`}
    ${board.cases.map((one, i) => {
      const anchor = seen.has(one.asset) ? undefined : `case-${slug(one.asset)}`;
      seen.add(one.asset);
      return html`<${Case} key=${one.id} one=${one} anchor=${anchor} board=${board} words=${words}
        language=${language} tell=${tell} charted=${i < CHARTED_CASES} />`;
    })}
    ${board.cases_left_out > 0 && html`<p class="muted">${filled(words.more, { n: board.cases_left_out })}</p>`}
  </section>`;
}

function Case({ one, anchor, board, words, language, tell, charted }) {
  const state = ["sensor_fault", "data_gap"].includes(one.kind) ? "sensor" : one.severity;
  const said = [
    one.acknowledged && words.acknowledged,
    shelf(one, words),
    one.label && words[`label_${one.label}`],
  ].filter(Boolean);
  return html`<article class="case ${state}" id=${anchor} tabindex="-1" data-case=${one.id} aria-labelledby="title-${one.id}">
    <h3 id="title-${one.id}"><${Shape} state=${state} /> <span>${one.asset}</span> <span class="state">${words[state]}</span>
      <small>${filled(words.since, { time: clock(one.onset) })}</small></h3>
    <p class="sentence">${local(one.sentences[language])}</p>
    ${said.length > 0 && html`<p class="said">${said.map((text) => html`<span class="mark">✓ ${text}</span> `)}</p>`}
    ${TOKEN && html`<${Buttons} one=${one} words=${words} tell=${tell} />`}
    ${charted && html`<${Charts} one=${one} board=${board} words=${words} />`}
  </article>`;
}

function Buttons({ one, words, tell }) {
  const [sure, setSure] = useState(false);
  useEffect(() => {
    if (!sure) return undefined;
    const timer = setTimeout(() => setSure(false), 6000);
    return () => clearTimeout(timer);
  }, [sure]);
  const button = (word, act, off = false, look = "") => html`
    <button type="button" class=${look} disabled=${off} aria-label="${words[word]}: ${one.asset}" onClick=${act}>${words[word]}</button>`;
  const shelf = one.shelved !== null
    ? button("unshelve", () => tell("unshelve", one.asset, {}, words.unshelve))
    : button("shelve", () => tell("shelve", one.asset, { hours: 8 }, words.shelve));
  return html`<div class="buttons">
    ${button("acknowledge", () => tell("acknowledge", one.asset, { alert: one.id }, words.acknowledge), one.acknowledged, "first")}
    ${shelf}
    ${button("false_alarm", () => tell("feedback", one.asset, { alert: one.id, label: "false" }, words.false_alarm), one.label === "false")}
    <button type="button" class=${sure ? "sure" : ""} aria-label="${words.maintenance}: ${one.asset}" onClick=${() => {
      if (sure) tell("maintenance", one.asset, {}, words.maintenance);
      setSure(!sure);
    }}>${sure ? filled(words.sure_maintenance, { asset: one.asset }) : words.maintenance}</button></div>`;
}

// Signals are fetched anew when the stream has moved on, at most every two seconds.
function Charts({ one, board, words }) {
  const [series, setSeries] = useState([]);
  const fetched = useRef(-Infinity);
  const asked = one.sensors.map((s) => `&sensor=${encodeURIComponent(s.sensor)}`).join("");
  useEffect(() => {
    if (!asked) return undefined;
    const timer = setTimeout(() => {
      fetched.current = performance.now();
      fetch(`/signals?asset=${encodeURIComponent(one.asset)}${asked}`)
        .then((answer) => answer.json()).then(setSeries).catch(() => {});
    }, Math.max(0, fetched.current + 2000 - performance.now()));
    return () => clearTimeout(timer);
  }, [board.time, asked]);
  const end = one.state === "resolved" ? one.time : null;
  return html`<div class="charts">${series.map((found) => html`
    <${Chart} key=${found.sensor} series=${found} onset=${one.onset} end=${end} words=${words} clock=${clock} />`)}</div>`;
}

function Over({ board, words, language }) {
  return html`<section class="over" aria-labelledby="over"><h2 id="over">${words.over}</h2>
    ${board.over.length === 0 && html`<p class="muted">${words.no_over}</p>`}
    <ol>${board.over.map((one) => html`<${Ended} key=${one.id} one=${one} board=${board} words=${words} language=${language} />`)}</ol>
  </section>`;
}

function Ended({ one, board, words, language }) {
  const [open, setOpen] = useState(false);
  return html`<li data-over=${one.id}><details onToggle=${(event) => setOpen(event.target.open)}>
    <summary><time>${clock(one.time)}</time> ${local(one.sentences[language])}
      ${one.label && html` <span class="mark">${words[`label_${one.label}`]}</span>`}</summary>
    ${open && html`<${Charts} one=${one} board=${board} words=${words} />`}</details></li>`;
}

function Losses({ board, words, language }) {
  const [all, setAll] = useState(false);
  const headings = HEADINGS[language] ?? HEADINGS.en;
  const sum = (row) => Object.values(row.seconds).reduce((all, one) => all + one, 0);
  const named = [...new Set(board.losses.flatMap((row) => Object.keys(row.seconds)))]
    .filter((h) => board.losses.some((row) => row.seconds[h] > 0));
  const most = Math.max(1, ...board.losses.map(sum));
  const priced = board.losses.some((row) => row.money !== null);
  const changed = board.losses.some((row) => ofLate(row, words));
  const first = board.losses[0], rows = all ? board.losses : board.losses.slice(0, LOSSES);
  return html`<section class="losses" aria-labelledby="losses"><h2 id="losses">${words.losses}
      ${first && html` <small>${filled(words.shift, { from: clock(first.start), to: clock(first.end) })}</small>`}</h2>
    ${!first ? html`<p class="muted">${words.no_losses}</p>` : html`
    <div class="wide" tabindex="0" role="group" aria-labelledby="losses"><table><thead><tr><th scope="col">${words.machine}</th>
      <th scope="col">OEE</th><th scope="col">${words.total}, min</th>
      ${priced && html`<th scope="col">${words.money}</th>`}${changed && html`<th scope="col">${words.of_late}</th>`}
      ${named.map((h) => html`<th scope="col">${headings[h] ?? h.replaceAll("_", " ")}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.asset}><th scope="row">${row.asset}
          ${row.orders.toReversed().map((one) => html`<small class="muted">${filled(words.order, { name: one.name, lost: (one.seconds / 60).toFixed(0) })}</small>`)}
          ${row.read_from.map((text) => html`<small class="muted" lang="en">${text}</small>`)}</th>
        <td>${row.oee === null ? "—" : `${Math.round(row.oee * 100)} %`}
          ${Object.entries(row.factors).map(([name, share]) => html`<small class="muted">${words[name]} ${Math.round(share * 100)} %</small>`)}</td>
        <td class="total">${minutes(sum(row))} <svg class="bar" viewBox="0 0 60 10" aria-hidden="true"><rect width=${60 * sum(row) / most} height="10" /></svg></td>
        ${priced && html`<td>${row.money === null ? "—" : row.money.toLocaleString(language, { maximumFractionDigits: 0 })}</td>`}
        ${changed && html`<td class="late">${ofLate(row, words) || "—"}</td>`}
        ${named.map((h) => html`<td>${minutes(row.seconds[h])}</td>`)}</tr>`)}
      </tbody></table></div>
    ${board.losses.length > LOSSES && html`<button type="button" aria-expanded=${all} onClick=${() => setAll(!all)}>
      ${all ? words.fewer : filled(words.all, { n: board.losses.length })}</button>`}`}</section>`;
}

// What is new or over since the last picture, in a sentence that a screen reader speaks.
function useNews(board, language, words) {
  const open = useRef(null);
  const [news, setNews] = useState("");
  useEffect(() => {
    if (!board) return;
    const now = new Map(board.cases.map((one) => [one.id, one]));
    if (open.current) {
      const fresh = board.cases.find((one) => !open.current.has(one.id));
      const gone = board.over.find((one) => open.current.has(one.id));
      if (fresh) setNews(filled(words.said_alarm, { sentence: local(fresh.sentences[language]) }));
      else if (gone) setNews(filled(words.said_over, { sentence: local(gone.sentences[language]) }));
    }
    open.current = now;
  }, [board]);
  return news;
}

function shelf({ shelved }, words) {
  if (shelved === null) return "";
  return shelved === 0 ? words.shelved_once : filled(words.shelved, { time: clock(shelved) });
}

function headline(board, words) {
  const worst = ["high", "medium", "low", "sensor"].find((state) => board.states[state]);
  return worst ? `${board.states[worst]} ${words[worst]} · andon` : "andon";
}

// The data's own time in the viewer's zone; without the date on the data's own day there.
function clock(seconds, always = false) {
  const { date, time } = moment(seconds);
  return !always && date === today ? time : `${date} ${time}`;
}

const formats = new Map();

function moment(seconds) {
  if (!formats.has(zone)) {
    const two = "2-digit";
    formats.set(zone, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", year: "numeric",
      month: two, day: two, hour: two, minute: two, timeZoneName: "short" }));
  }
  const part = Object.fromEntries(formats.get(zone).formatToParts(seconds * 1000).map((p) => [p.type, p.value]));
  return { date: `${part.year}-${part.month}-${part.day}`, time: `${part.hour}:${part.minute} ${part.timeZoneName}` };
}

// A sentence's times, which are UTC, in the viewer's zone.
function local(sentence) {
  if (zone === "UTC") return sentence;
  return sentence.replace(/(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC/g,
    (_, day, minute) => clock(Date.parse(`${day}T${minute}Z`) / 1000, true));
}

// What is off its reference of late, and what the shifts before made of their time.
function ofLate(row, words) {
  const off = row.trend.map(([kind, share]) => `${words[`level_${kind}`]} ${share > 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(1)} %`);
  if (row.oee !== null && row.earlier_oee !== null) off.push(filled(words.oee_before, { share: Math.round(100 * row.earlier_oee) }));
  return off.join(", ");
}

function minutes(seconds) {
  if (!seconds) return "—";
  return seconds < 600 ? (seconds / 60).toFixed(1) : String(Math.round(seconds / 60));
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

function slug(text) {
  return encodeURIComponent(text).replaceAll("%", "-");
}

render(html`<${Page} />`, document.getElementById("board"));
