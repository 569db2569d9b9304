// All hosts as tiles: name and one bar per panel. A tile is a button that chooses its host.

import { amount, el, say } from "./dom.js";

/** More tiles than this do not help anybody; the filter finds the others. */
const TILES_MAX = 400;

/** How worrying a percentage is. */
const heat = (value) => (value >= 90 ? "high" : value >= 75 ? "raised" : "normal");

export class Fleet {
  constructor({ root, key, filter, order, note }, chosen) {
    Object.assign(this, { root, key, filter, order, note, chosen });
    this.tiles = new Map();
    this.panels = [];
    this.hosts = new Map();
    this.host = null;
    filter.addEventListener("input", () => this.draw());
    order.addEventListener("change", () => this.draw());
  }

  setPanels(panels) {
    this.panels = panels;
    const before = this.order.value;
    this.order.replaceChildren(el("option", { value: "name" }, "by name"), el("option", { value: "alerts" }, "alerts first"),
      ...panels.map((panel) => el("option", { value: panel.key }, `by ${panel.title}`)));
    this.order.value = before || "name";
    say(this.key, `bars from the top: ${panels.map((panel) => panel.title).join(", ")}`);
    this.tiles.clear();
  }

  set(hosts, alerting, host) {
    Object.assign(this, { hosts, alerting, host });
    this.draw();
  }

  draw() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const order = this.order.value;
    const value = (host) => (order === "alerts" ? this.alerting.get(host.host) ?? 0 : host.values[order]?.[1] ?? -1);
    const found = [...this.hosts.values()]
      .filter((host) => words.every((word) => host.host.toLowerCase().includes(word)))
      .sort((a, b) => (order === "name" ? 0 : value(b) - value(a)) || a.host.localeCompare(b.host, "en", { numeric: true }));
    const shown = found.slice(0, TILES_MAX);
    const tiles = shown.map((host) => this.tile(host));
    const same = tiles.length === this.root.childElementCount && tiles.every((tile, at) => this.root.children[at] === tile);
    if (!same) this.root.replaceChildren(...tiles);
    for (const name of this.tiles.keys()) if (!this.hosts.has(name)) this.tiles.delete(name);
    const left = found.length - shown.length;
    this.note.hidden = left === 0 && found.length > 0;
    say(this.note, found.length === 0 ? (this.hosts.size ? "No host has such a name." : "No host has sent anything yet.") : left ? `${left} more: filter to find them.` : "");
  }

  tile(host) {
    let tile = this.tiles.get(host.host);
    if (!tile) {
      const bars = this.panels.map((_, index) => el("i", { "data-series": String(index) }));
      const button = el("button", { type: "button", class: "tile", onclick: () => this.chosen(host.host) },
        el("span", { class: "name" }, host.host), el("span", { class: "bars", "aria-hidden": "true" }, ...bars));
      tile = { button, bars };
      this.tiles.set(host.host, tile);
    }
    const alerts = this.alerting.get(host.host) ?? 0;
    const words = this.panels.map((panel, index) => {
      const [, value] = host.values[panel.key] ?? [];
      if (value !== undefined) {
        tile.bars[index].style.setProperty("--share", String(Math.min(1, Math.max(0, value / 100))));
        tile.bars[index].dataset.heat = heat(value);
      }
      return `${panel.title} ${amount(value, panel.unit)}`;
    });
    if (alerts) words.push(alerts === 1 ? "1 open alert" : `${alerts} open alerts`);
    const label = `${host.host}: ${words.join(", ")}`;
    if (tile.button.title !== label) {
      tile.button.title = label;
      tile.button.setAttribute("aria-label", label);
    }
    tile.button.toggleAttribute("data-alerting", alerts > 0);
    tile.button.setAttribute("aria-pressed", String(host.host === this.host));
    return tile.button;
  }
}
