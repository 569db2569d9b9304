// Open alerts as cards, past ones as a list.

import { amount, clock, el, say, span, stamp } from "./dom.js";

/** Past alerts shown; the API has more. */
const PAST_SHOWN = 200;

const words = (name) => name.replaceAll("_", " ");
const ENDS = { recovered: "recovered", no_data: "no data", merged: "merged" };

/** `host=web-1` without the label's name, where there is one label only. */
const who = (alert) => (alert.group.includes(",") ? alert.group : alert.group.split("=").slice(1).join("=") || "everything");

export class Alerts {
  /** `chosen(alert)` is called when somebody wants to see more of an alert. */
  constructor({ open, openCount, past, pastCount }, chosen) {
    Object.assign(this, { open, openCount, past, pastCount, chosen });
    this.ages = [];
  }

  set(alerts, now) {
    say(this.openCount, String(alerts.open_count));
    this.openCount.toggleAttribute("data-alerting", alerts.open_count > 0);
    this.ages = [];
    const cards = alerts.open.map((alert) => this.card(alert));
    if (cards.length === 0) cards.push(el("li", { class: "nothing" }, "No alert is open."));
    this.open.replaceChildren(...cards);
    say(this.pastCount, String(alerts.past.length));
    const rows = alerts.past.slice(0, PAST_SHOWN).map((alert) => this.row(alert));
    if (rows.length === 0) rows.push(el("li", { class: "nothing" }, "None yet."));
    this.past.replaceChildren(...rows);
    this.grow(now);
  }

  /** Lets the ages of open alerts grow. */
  grow(now) {
    for (const { node, since } of this.ages) say(node, `for ${span(now - since)}`);
  }

  card(alert) {
    const age = el("span", { class: "age", title: `since ${stamp(alert.started_at)}` });
    this.ages.push({ node: age, since: alert.started_at });
    return el("li", { "data-alert": true, "data-severity": alert.severity },
      el("button", { type: "button", onclick: () => this.chosen(alert) },
        el("span", { class: "line" }, el("strong", {}, who(alert)), age),
        el("span", { class: "what" }, alert.summary || words(alert.rule)),
        el("span", { class: "line meta" }, el("span", {}, `${alert.severity} · ${words(alert.rule)}`), el("span", {}, amount(alert.value, ""))),
        alert.inventory ? el("span", { class: "meta" }, alert.inventory) : null));
  }

  row(alert) {
    return el("li", { "data-alert": true, "data-severity": alert.severity },
      el("button", { type: "button", title: `${alert.summary}, ${stamp(alert.opened_at)}`, onclick: () => this.chosen(alert) },
        el("span", { class: "line" }, el("strong", {}, who(alert)), el("time", {}, clock(alert.opened_at))),
        el("span", { class: "line meta" }, el("span", {}, words(alert.rule)),
          el("span", {}, `${ENDS[alert.end] ?? "ended"} after ${span(alert.ended_at - alert.started_at)}`))));
  }
}
