// Log lines over time in SVG: one bar per step, its levels on top of each other.

import { clock, el, say, svg, whole } from "./dom.js";
import { timeTicks, valueTicks } from "./chart.js";

const HEIGHT = 150;
const MARGIN = { left: 34, right: 10, top: 8, bottom: 22 };

export class LevelBars {
  constructor(root, legend, readout) {
    this.root = root;
    this.legend = legend;
    this.readout = readout;
    this.hidden = new Set();
    this.steps = new Map();
    this.cursor = null;
    this.canvas = svg("svg", {
      role: "img", height: HEIGHT,
      onpointermove: (event) => this.point(event),
      onpointerleave: () => { this.cursor = null; this.draw(); },
    });
    root.append(this.canvas);
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Steps as time → counts per level. */
  set(steps, step, levels, from, to) {
    const known = this.levels?.join() === levels.join();
    Object.assign(this, { steps, step, levels, from, to });
    if (!known) this.drawLegend();
    this.draw();
  }

  drawLegend() {
    this.legend.replaceChildren(...this.levels.map((level) => el("button", {
      type: "button", class: "level", "data-level": level, "aria-pressed": "true",
      onclick: (event) => {
        if (!this.hidden.delete(level)) this.hidden.add(level);
        event.currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(level)));
        this.draw();
      },
    }, level.toLowerCase())));
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const time = this.from + share * (this.to - this.from);
    this.cursor = Math.floor(time / this.step) * this.step;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.root.clientWidth);
    if (!width || this.to === undefined) return;
    const shown = this.levels.map((level, index) => ({ level, index })).filter(({ level }) => !this.hidden.has(level));
    const bars = [...this.steps].filter(([time]) => time + this.step > this.from && time < this.to).sort((a, b) => a[0] - b[0]);
    const total = (counts) => shown.reduce((sum, { index }) => sum + counts[index], 0);
    const values = valueTicks(bars.reduce((most, [, counts]) => Math.max(most, total(counts)), 4), "");
    const bottom = HEIGHT - MARGIN.bottom;
    const right = width - MARGIN.right;
    const x = (time) => MARGIN.left + ((time - this.from) / (this.to - this.from)) * (right - MARGIN.left);
    const y = (value) => bottom - (value / values.at(-1)) * (bottom - MARGIN.top);
    const parts = [];
    for (const value of values) {
      parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, whole(value)));
    }
    for (const time of timeTicks(this.from, this.to, right - MARGIN.left).ticks) {
      parts.push(svg("text", { class: "tick", x: x(time), y: HEIGHT - 6, "text-anchor": "middle" }, clock(time, false)));
    }
    // One path per level: hundreds of bars are then six elements.
    for (const { level, index } of shown) {
      const boxes = bars.map(([time, counts]) => {
        if (!counts[index]) return "";
        const below = shown.filter((other) => other.index > index).reduce((sum, other) => sum + counts[other.index], 0);
        const left = Math.max(MARGIN.left, x(time));
        const end = Math.min(right, x(time + this.step));
        const gap = end - left > 3 ? 1 : 0;
        const [low, high] = [y(below), y(below + counts[index])];
        return end - left > gap ? `M${left.toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}H${(end - gap).toFixed(1)}V${low.toFixed(1)}Z` : "";
      });
      parts.push(svg("path", { class: "bar", "data-level": level, d: boxes.join("") || "M0 0" }));
    }
    const counts = this.cursor === null ? null : this.steps.get(this.cursor);
    if (counts) {
      parts.push(svg("rect", { class: "cursor-box", x: x(this.cursor), y: MARGIN.top, width: x(this.cursor + this.step) - x(this.cursor), height: bottom - MARGIN.top }));
    }
    const newest = bars.filter(([time]) => time + this.step <= this.to).at(-1);
    const told = counts ? [this.cursor, counts] : newest;
    const words = told ? shown.filter(({ index }) => told[1][index]).reverse().map(({ level, index }) => `${level.toLowerCase()} ${whole(told[1][index])}`) : [];
    say(this.readout, told ? `${clock(told[0])} + ${this.step / 1000} s: ${words.join(", ") || "none"}` : "");
    this.root.dataset.points = String(bars.length);
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.canvas.setAttribute("width", width);
    const sum = bars.reduce((all, [, each]) => all + total(each), 0);
    this.canvas.setAttribute("aria-label", `Log lines from ${clock(this.from, false)} to ${clock(this.to, false)}: ${whole(sum)} of the levels shown`);
    this.canvas.replaceChildren(...parts);
  }
}
