// A line over time in SVG: axes, threshold, marked spans, and a cursor that mouse and arrow keys move.

import { amount, clock, el, svg } from "./dom.js";

const HEIGHT = 190;
const MARGIN = { left: 34, right: 10, top: 10, bottom: 22 };
/** Steps of the time axis, in minutes. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440];

/** Round instants within [from, to], at least `room` pixels apart on a width of `width`. */
export function timeTicks(from, to, width, room = 68) {
  const fits = (step) => ((to - from) / (step * 60000)) * room <= width;
  const step = (STEPS.find(fits) ?? STEPS.at(-1)) * 60000;
  const zone = new Date(to).getTimezoneOffset() * 60000;
  const first = Math.ceil((from - zone) / step) * step + zone;
  const ticks = [];
  for (let time = first; time <= to; time += step) ticks.push(time);
  return { ticks, daily: step >= 86400000 };
}

/** Round values from 0 to at least `most`: 0, 25, 50, 75, 100 for percentages. */
export function valueTicks(most, unit) {
  if (unit === "%") return [0, 25, 50, 75, 100];
  const raw = Math.max(most, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  return [0, 1, 2, 3, 4].map((count) => count * step);
}

export class LineChart {
  /** `moved(time)` is told where the cursor is, or null. */
  constructor(panel, index, moved) {
    this.panel = panel;
    this.points = [];
    this.marks = [];
    this.cursor = null;
    this.moved = moved;
    this.readout = el("output", { class: "readout" });
    this.canvas = svg("svg", {
      role: "img", tabindex: "0", height: HEIGHT,
      onpointermove: (event) => this.point(event),
      onpointerleave: () => this.moved(null),
      onblur: () => this.moved(null),
      onkeydown: (event) => this.key(event),
    });
    this.root = el("figure", { class: "chart", "data-series": String(index), "data-chart": panel.title.toLowerCase() },
      el("figcaption", {}, el("span", { class: "swatch", "aria-hidden": "true" }), el("span", {}, panel.title), this.readout),
      this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  /** Points as [time, value], the time shown, and the spans to mark as {from, to, text}. */
  set(points, from, to, marks, host) {
    Object.assign(this, { points, from, to, marks, host });
    this.draw();
  }

  setCursor(time) {
    this.cursor = time;
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || this.points.length === 0) return;
    event.preventDefault();
    const at = this.cursor === null ? this.points.length : this.nearest(this.cursor);
    const next = Math.min(this.points.length - 1, Math.max(0, at + step));
    this.moved(this.points[next][0]);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const inner = box.width - MARGIN.left - MARGIN.right;
    const share = (event.clientX - box.left - MARGIN.left) / inner;
    this.moved(this.from + Math.min(1, Math.max(0, share)) * (this.to - this.from));
  }

  nearest(time) {
    let best = 0;
    for (let at = 1; at < this.points.length; at += 1) {
      if (Math.abs(this.points[at][0] - time) <= Math.abs(this.points[best][0] - time)) best = at;
    }
    return best;
  }

  draw() {
    const width = Math.floor(this.root.clientWidth);
    if (!width || this.to === undefined) return;
    const { panel } = this;
    const most = this.points.reduce((high, point) => Math.max(high, point[1]), panel.threshold ?? 0);
    const values = valueTicks(most, panel.unit);
    const bottom = HEIGHT - MARGIN.bottom;
    const right = width - MARGIN.right;
    const x = (time) => MARGIN.left + ((time - this.from) / (this.to - this.from)) * (right - MARGIN.left);
    const y = (value) => bottom - (value / values.at(-1)) * (bottom - MARGIN.top);
    const parts = [];

    for (const mark of this.marks) {
      const left = Math.max(MARGIN.left, x(mark.from));
      const end = Math.min(right, x(mark.to));
      if (end > left) {
        parts.push(svg("rect", { class: "mark", x: left, y: MARGIN.top, width: end - left, height: bottom - MARGIN.top }, svg("title", {}, mark.text)));
      }
    }
    for (const value of values) {
      parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, String(value)));
    }
    const { ticks, daily } = timeTicks(this.from, this.to, right - MARGIN.left);
    for (const time of ticks) {
      const text = daily ? new Date(time).toLocaleDateString() : clock(time, false);
      parts.push(svg("text", { class: "tick", x: x(time), y: HEIGHT - 6, "text-anchor": "middle" }, text));
    }
    if (panel.threshold !== null) {
      parts.push(svg("line", { class: "threshold", x1: MARGIN.left, x2: right, y1: y(panel.threshold), y2: y(panel.threshold) }));
    }
    for (const run of this.runs()) {
      const line = run.map(([time, value], at) => `${at ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      const [first, last] = [x(run[0][0]).toFixed(1), x(run.at(-1)[0]).toFixed(1)];
      parts.push(svg("path", { class: "area", d: `${line}L${last} ${bottom}L${first} ${bottom}Z` }),
        svg("path", { class: "line", d: line }));
    }
    const at = this.points.length === 0 ? null : this.points[this.cursor === null ? this.points.length - 1 : this.nearest(this.cursor)];
    if (at) {
      if (this.cursor !== null) parts.push(svg("line", { class: "cursor", x1: x(at[0]), x2: x(at[0]), y1: MARGIN.top, y2: bottom }));
      parts.push(svg("circle", { class: "dot", cx: x(at[0]), cy: y(at[1]), r: 3.5 }));
    } else {
      parts.push(svg("text", { class: "tick", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no points yet"));
    }
    this.root.dataset.points = String(this.points.length);
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.canvas.setAttribute("width", width);
    this.canvas.setAttribute("aria-label", this.describe());
    this.canvas.replaceChildren(...parts);
    this.readout.replaceChildren(...(at ? [el("time", {}, this.cursor === null ? "" : clock(at[0])), el("b", {}, amount(at[1], panel.unit))] : []));
  }

  /** The points, cut where there are none for longer than three times the usual distance. */
  runs() {
    const gaps = this.points.slice(1).map((point, at) => point[0] - this.points[at][0]).sort((a, b) => a - b);
    const most = 3 * (gaps[Math.floor(gaps.length / 2)] ?? 0);
    const runs = [];
    for (const [at, point] of this.points.entries()) {
      if (at === 0 || point[0] - this.points[at - 1][0] > most) runs.push([]);
      runs.at(-1).push(point);
    }
    return runs;
  }

  describe() {
    const { title, unit } = this.panel;
    const values = this.points.map((point) => point[1]);
    if (values.length === 0) return `${title} of ${this.host}: no points yet`;
    const [now, low, high] = [values.at(-1), Math.min(...values), Math.max(...values)];
    return `${title} of ${this.host} from ${clock(this.from, false)} to ${clock(this.to, false)}: now ${amount(now, unit)}, lowest ${amount(low, unit)}, highest ${amount(high, unit)}`;
  }
}
