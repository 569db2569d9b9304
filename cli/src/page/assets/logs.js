// Log search: a query, a level, and the newest lines that match.

import { load } from "./data.js";
import { clock, el, say, stamp, throttled } from "./dom.js";

const LIMIT = 100;

export class Logs {
  constructor({ query, level, rows, note }, chosen) {
    Object.assign(this, { query, level, rows, note, chosen });
    this.asked = 0;
    this.shown = "";
    this.again = throttled(2000, () => this.search());
    this.soon = throttled(200, () => this.search());
    query.addEventListener("input", () => this.soon());
    level.addEventListener("change", () => this.soon());
  }

  /** Puts a query in and looks for it. */
  lookFor(text) {
    this.query.value = text;
    this.level.value = "";
    this.search();
  }

  async search() {
    const asked = (this.asked += 1);
    const text = this.query.value.trim();
    const params = new URLSearchParams({ q: text, level: this.level.value, limit: String(LIMIT) });
    try {
      const lines = await load(`/api/logs?${params}`);
      // Answers may overtake each other: only that to the latest question counts.
      if (asked === this.asked) this.draw(lines, text);
    } catch (error) {
      if (asked === this.asked) say(this.note, `Could not search: ${error.message}`);
    }
  }

  draw(lines, text) {
    const none = text || this.level.value ? "No line matches." : "No line has come yet.";
    say(this.note, lines.length === 0 ? none : lines.length === LIMIT ? `The newest ${LIMIT} lines that match.` : `${lines.length} lines match.`);
    const state = JSON.stringify([text, lines]);
    if (state === this.shown) return;
    this.shown = state;
    const words = text.split(/\s+/).filter((word) => word && !/^(host|service|level):/.test(word)).map((word) => word.toLowerCase());
    this.rows.replaceChildren(...lines.map((line) => el("tr", {},
      el("td", {}, el("time", { title: stamp(line.time) }, clock(line.time))),
      el("td", {}, el("span", { class: "badge", "data-level": line.level }, line.level.toLowerCase())),
      el("td", {}, el("button", { type: "button", class: "link", title: `${line.service}: show this host`, onclick: () => this.chosen(line.host) }, line.host)),
      el("td", { class: "message" }, ...marked(line.message, words)))));
  }
}

/** `text` in pieces, the beginnings of words that were looked for marked. */
function marked(text, words) {
  const low = text.toLowerCase();
  if (words.length === 0 || low.length !== text.length) return [text];
  const pieces = [];
  let from = 0;
  while (from < text.length) {
    let [at, length] = [-1, 0];
    for (const word of words) {
      const found = low.indexOf(word, from);
      if (found >= 0 && (at < 0 || found < at)) [at, length] = [found, word.length];
    }
    if (at < 0) break;
    pieces.push(text.slice(from, at), el("mark", {}, text.slice(at, at + length)));
    from = at + length;
  }
  pieces.push(text.slice(from));
  return pieces;
}
