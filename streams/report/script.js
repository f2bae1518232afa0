"use strict";
// Reading values and zooming. The page is complete without this: every chart is drawn before the
// script runs, and the script reads the drawing's own coordinates instead of a second copy.
(() => {
  const WIDTH = 2000, HEIGHT = 400;
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const SECONDS = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02,
    0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600,
    43200, 86400, 172800, 345600, 604800, 1209600];
  const LEAST_SHARE = 1 / 400; // the drawing has no more detail to show
  document.documentElement.classList.add("script");

  const spoken = document.createElement("div");
  spoken.className = "hidden";
  spoken.setAttribute("aria-live", "polite");
  document.body.append(spoken);

  const make = (surface, name, attributes) => {
    const element = document.createElementNS(surface.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const pad = (number) => String(number).padStart(2, "0");
  const day = (date) => `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  const text = (value) => {
    if (value === 0) return "0";
    const size = Math.floor(Math.log10(Math.abs(value)));
    if (size < -4 || size > 8) return value.toExponential(3);
    return value.toLocaleString("en", { maximumSignificantDigits: 4 });
  };
  const rare = (decades) => {
    const seconds = 10 ** decades;
    const units = [["years", 31557600], ["weeks", 604800], ["days", 86400], ["h", 3600], ["min", 60], ["s", 1]];
    const [unit, size] = units.find(([, s]) => seconds >= 1.5 * s) || units[5];
    return `once in ${text(Number((seconds / size).toPrecision(2)))} ${unit}`;
  };
  const instant = (axis, at, step) => {
    if (axis === "row") return `row ${Math.round(at).toLocaleString("en")}`;
    const date = new Date(at / 1000), days = Math.floor(at / 864e8);
    const clock = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`;
    const small = step < 1e6 ? "." + String(Math.floor(at % 1e6)).padStart(6, "0").slice(0, 4) : "";
    if (axis === "start") return `+${days ? days + " d " : ""}${clock}${small}`;
    return `${day(date)} ${clock}${small}`;
  };

  // Ticks, as the page drew them for the whole: step from the same list, first of a day says the day.
  const ticks = (axis, from, to) => {
    const found = [];
    if (axis === "row") {
      const rough = Math.max(1, (to - from) / 6), power = 10 ** Math.floor(Math.log10(rough));
      const step = power * ([1, 2, 5].find((m) => m * power >= rough) || 10);
      for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
        found.push([at, Math.round(at).toLocaleString("en"), "rows"]);
      }
      return found;
    }
    const wanted = (to - from) / 1e6 / 6;
    const power = 86400 * 10 ** Math.floor(Math.log10(wanted / 86400));
    const step = SECONDS.find((s) => s >= wanted)
      || (axis === "start" ? power * ([1, 2, 5].find((m) => m * power >= wanted) || 10) : undefined);
    if (step === undefined) {
      const months = [1, 2, 3, 6, 12, 24, 60, 120].find((m) => m >= wanted / 2629800) || 120;
      const first = new Date(from / 1000);
      let month = Math.ceil((12 * first.getUTCFullYear() + first.getUTCMonth()) / months) * months;
      for (let guard = 0; guard < 24; guard += 1, month += months) {
        const at = Date.UTC(Math.floor(month / 12), month % 12, 1) * 1000;
        if (at > to) break;
        if (at >= from) found.push([at, MONTHS[month % 12], String(Math.floor(month / 12))]);
      }
      return found;
    }
    const micros = step * 1e6;
    for (let at = Math.ceil(from / micros) * micros; at <= to && found.length < 30; at += micros) {
      const date = new Date(at / 1000), days = `${Math.floor(at / 864e8)} d`;
      if (step >= 86400 && axis === "start") {
        found.push([at, days, "since the start"]);
        continue;
      }
      if (step >= 86400) {
        found.push([at, `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`, String(date.getUTCFullYear())]);
        continue;
      }
      let label = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}`;
      if (step < 60) label += `:${pad(date.getUTCSeconds())}`;
      if (step < 1) {
        const digits = Math.max(1, -Math.floor(Math.log10(step)));
        label += "." + String(Math.floor(at % 1e6)).padStart(6, "0").slice(0, digits);
      }
      found.push([at, label, axis === "start" ? `+${days}` : day(date)]);
    }
    return found;
  };

  const frames = [];
  const groups = new Map();

  class Frame {
    constructor(element) {
      const data = element.dataset;
      this.element = element;
      this.axis = data.axis;
      this.from = Number(data.from);
      this.to = Math.max(Number(data.to), this.from + 1e-9);
      this.inner = [...element.querySelectorAll("svg.inner")];
      this.labels = element.querySelector("ol.x");
      const key = data.zoom === "page" ? "page" : Symbol("own");
      if (!groups.has(key)) groups.set(key, { a: 0, b: 1, frames: [] });
      this.group = groups.get(key);
      this.group.frames.push(this);
      this.surfaces = [...element.querySelectorAll("svg.view")];
      for (const surface of this.surfaces) this.listen(surface);
    }
    show() {
      const { a, b } = this.group, width = 100 / (b - a);
      for (const inner of this.inner) {
        inner.setAttribute("x", `${-a * width}%`);
        inner.setAttribute("width", `${width}%`);
      }
      const from = this.from + a * (this.to - this.from), to = this.from + b * (this.to - this.from);
      let told = "";
      this.labels.replaceChildren(...ticks(this.axis, from, to).map(([at, label, context]) => {
        const item = document.createElement("li");
        const place = (at - from) / (to - from);
        item.className = place < 0.07 ? "l" : place > 0.93 ? "r" : "";
        item.style.left = `${100 * place}%`;
        item.textContent = label;
        if (context !== told) {
          const small = document.createElement("small");
          small.textContent = told = context;
          item.append(small);
        }
        return item;
      }));
    }
    // Where on the whole axis (0..1) a pointer is.
    place(event, surface) {
      const box = surface.getBoundingClientRect(), { a, b } = this.group;
      return a + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (b - a);
    }
    listen(surface) {
      let start = null, choice = null;
      const clear = () => { choice?.remove(); choice = start = null; };
      surface.addEventListener("pointerdown", (event) => {
        if (event.button === 0 && event.pointerType !== "touch") start = this.place(event, surface);
      });
      surface.addEventListener("pointermove", (event) => {
        const now = this.place(event, surface);
        this.read?.(now);
        if (start === null || Math.abs(now - start) < 0.004 * (this.group.b - this.group.a)) return;
        if (!choice) {
          choice = make(surface, "rect", { class: "choice", y: "0", height: "100%" });
          surface.append(choice);
          surface.setPointerCapture(event.pointerId);
        }
        const { a, b } = this.group, left = (Math.min(start, now) - a) / (b - a);
        choice.setAttribute("x", `${100 * left}%`);
        choice.setAttribute("width", `${100 * Math.abs(now - start) / (b - a)}%`);
      });
      surface.addEventListener("pointerup", (event) => {
        const chosen = choice !== null, from = start, to = this.place(event, surface);
        clear();
        if (chosen) zoom(this.group, Math.min(from, to), Math.max(from, to));
      });
      surface.addEventListener("pointercancel", clear);
      surface.addEventListener("dragstart", (event) => event.preventDefault());
      surface.addEventListener("dblclick", () => zoom(this.group, 0, 1));
      surface.addEventListener("pointerleave", () => { if (start === null) this.forget?.(); });
    }
  }

  const zoom = (group, a, b) => {
    const width = Math.min(1, Math.max(LEAST_SHARE, b - a));
    group.a = Math.min(1 - width, Math.max(0, (a + b - width) / 2));
    group.b = group.a + width;
    for (const frame of group.frames) {
      frame.forget?.();
      frame.show();
    }
  };

  // A chart that can be read: the value under the cursor, from the drawing's own points.
  class Chart extends Frame {
    constructor(element) {
      super(element);
      this.top = Number(element.dataset.top);
      this.bottom = Number(element.dataset.bottom);
      this.rarity = "rarity" in element.dataset;
      this.at = 0.5;
      this.note = element.querySelector(".note");
      this.caption = this.note.textContent;
      this.surface = this.surfaces[0];
      this.surface.setAttribute("tabindex", "0");
      this.surface.addEventListener("keydown", (event) => this.key(event));
      this.surface.addEventListener("blur", () => this.forget());
      this.cursor = make(this.surface, "line", { class: "cursor", y1: "0", y2: "100%", visibility: "hidden" });
      this.surface.append(this.cursor);
    }
    points() {
      if (this.known) return this.known;
      this.known = [];
      const path = this.element.querySelector(".signal").getAttribute("d");
      for (const part of path.split("M").slice(1)) {
        const numbers = part.match(/-?\d+/g).map(Number), half = numbers.length / 4;
        for (let i = 0; i < half; i += 1) {
          const back = numbers.length - 2 * i;
          this.known.push([numbers[2 * i], numbers[back - 1], numbers[2 * i + 1]]);
        }
      }
      return this.known;
    }
    value(y) {
      return this.top - (y / HEIGHT) * (this.top - this.bottom);
    }
    read(place, aloud) {
      const points = this.points(), x = place * WIDTH;
      let low = 0, high = points.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < x) low = middle + 1; else high = middle;
      }
      if (low > 0 && x - points[low - 1][0] < points[low][0] - x) low -= 1;
      const [at, below, above] = points[low], { a, b } = this.group;
      this.at = place;
      const left = 100 * (at / WIDTH - a) / (b - a);
      this.cursor.setAttribute("x1", `${left}%`);
      this.cursor.setAttribute("x2", `${left}%`);
      this.cursor.setAttribute("visibility", "visible");
      const step = (this.to - this.from) / WIDTH;
      const when = instant(this.axis, this.from + (at / WIDTH) * (this.to - this.from), step);
      let said = this.rarity ? rare(this.value(above)) : text(this.value(below));
      if (!this.rarity && below !== above) said += ` to ${text(this.value(above))}`;
      this.note.className = "readout";
      this.note.textContent = `${when}: ${said}`;
      if (aloud) spoken.textContent = this.note.textContent;
    }
    forget() {
      this.cursor.setAttribute("visibility", "hidden");
      this.note.className = "note";
      this.note.textContent = this.caption;
    }
    key(event) {
      const { a, b } = this.group, width = b - a, step = width / (event.shiftKey ? 10 : 100);
      let handled = true;
      const move = (by) => {
        const at = Math.min(1, Math.max(0, this.at + by));
        if (at < a) zoom(this.group, at, at + width);
        if (at > b) zoom(this.group, at - width, at);
        this.read(at, true);
      };
      if (event.key === "ArrowRight") move(step);
      else if (event.key === "ArrowLeft") move(-step);
      else if (event.key === "+" || event.key === "=") {
        zoom(this.group, this.at - width / 4, this.at + width / 4);
        this.read(this.at, false);
      } else if (event.key === "-" || event.key === "−") {
        zoom(this.group, this.at - width, this.at + width);
        this.read(this.at, false);
      } else if (event.key === "Escape" || event.key === "0") {
        zoom(this.group, 0, 1);
        this.read(this.at, false);
      } else handled = false;
      if (handled && !event.ctrlKey && !event.metaKey) event.preventDefault();
    }
  }

  for (const element of document.querySelectorAll("[data-zoom]")) {
    frames.push(element.matches(".chart") ? new Chart(element) : new Frame(element));
  }
  document.getElementById("whole")?.addEventListener("click", () => {
    for (const group of groups.values()) zoom(group, 0, 1);
  });
})();
