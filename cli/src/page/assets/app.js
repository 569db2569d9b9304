// Puts the page together: data in, parts redrawn, choices remembered in the address.

import { Alerts } from "./alerts.js";
import { LevelBars } from "./bars.js";
import { LineChart } from "./chart.js";
import { Data, load } from "./data.js";
import { byId, el, say, span, throttled, whole } from "./dom.js";
import { Fleet } from "./fleet.js";
import { Logs } from "./logs.js";

const RANGES = [[15, "15 min"], [30, "30 min"], [60, "1 h"], [360, "6 h"], [1440, "24 h"]];
const THEMES = ["auto", "light", "dark"];

/** The choices, kept in the address after `#`: host, minutes, theme. */
const choice = { host: null, minutes: 30, theme: "auto" };
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  choice.host = given.get("host") ?? choice.host;
  choice.minutes = RANGES.map(([minutes]) => minutes).find((minutes) => String(minutes) === given.get("minutes")) ?? choice.minutes;
  choice.theme = THEMES.find((theme) => theme === given.get("theme")) ?? choice.theme;
}
function writeAddress() {
  const params = new URLSearchParams();
  if (choice.host) params.set("host", choice.host);
  if (choice.minutes !== 30) params.set("minutes", String(choice.minutes));
  if (choice.theme !== "auto") params.set("theme", choice.theme);
  const text = params.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

const logs = new Logs({ query: byId("logs-query"), level: byId("logs-level"), rows: byId("logs"), note: byId("logs-note") }, choose);
const bars = new LevelBars(byId("rate-chart"), byId("rate-levels"), byId("rate-read"));
const fleet = new Fleet({ root: byId("fleet"), key: byId("fleet-key"), filter: byId("fleet-filter"), order: byId("fleet-order"), note: byId("fleet-note") }, choose);
const alerts = new Alerts({ open: byId("open"), openCount: byId("open-count"), past: byId("past"), pastCount: byId("past-count") }, (alert) => {
  if (alert.host) choose(alert.host);
  else logs.lookFor(`${alert.group.replaceAll(",", " ").replaceAll("=", ":")} level:error`);
});
let charts = [];
let series = {};
let shownHost = null;

const data = new Data((what, detail) => {
  if (what === "panels") setPanels();
  if (what === "status") drawStatus();
  if (what === "hosts" || what === "alerts") drawFleet();
  if (what === "alerts") alerts.set(data.alerts, data.now());
  if (what === "alerts") drawCharts();
  if (what === "rate") { drawRate(); logs.again(); }
  if (what === "series") loadSeries();
  if (what === "points") addPoints(detail);
});

/** Which hosts have open alerts, and how many. */
function alerting() {
  const counts = new Map();
  for (const { host } of data.alerts.open) if (host) counts.set(host, (counts.get(host) ?? 0) + 1);
  return counts;
}

const drawFleet = throttled(250, () => {
  if (!data.hosts.has(choice.host) && data.hosts.size > 0) {
    // The first to look at is one that has trouble.
    const troubled = data.alerts.open.find((alert) => alert.host && data.hosts.has(alert.host))?.host;
    choose(troubled ?? [...data.hosts.keys()].sort()[0], false);
  }
  fleet.set(data.hosts, alerting(), choice.host);
});

function setPanels() {
  if (JSON.stringify(charts.map((chart) => chart.panel)) === JSON.stringify(data.panels)) return;
  charts = data.panels.map((panel, index) => new LineChart(panel, index, (time) => charts.forEach((chart) => chart.setCursor(time))));
  byId("charts").replaceChildren(...charts.map((chart) => chart.root));
  fleet.setPanels(data.panels);
}

function choose(host, remember = true) {
  choice.host = host;
  if (remember) writeAddress();
  say(byId("host-title"), host ?? "No host chosen");
  fleet.set(data.hosts, alerting(), choice.host);
  fetchSeries();
}

const loadSeries = throttled(1000, fetchSeries);

async function fetchSeries() {
  const { host, minutes } = choice;
  if (!host) return;
  try {
    const answer = await load(`/api/series?${new URLSearchParams({ host, minutes: String(minutes) })}`);
    // The choice may have changed while the answer was under way.
    if (host !== choice.host || minutes !== choice.minutes) return;
    series = answer.series;
    shownHost = host;
    drawCharts();
  } catch (error) {
    console.warn(`could not load the series of ${host}: ${error.message}`);
  }
}

function addPoints(points) {
  const values = points[shownHost] ?? {};
  for (const [key, point] of Object.entries(values)) {
    const line = (series[key] ??= []);
    if (line.length === 0 || line.at(-1)[0] < point[0]) line.push(point);
  }
  if (Object.keys(values).length > 0) drawCharts();
}

function drawCharts() {
  const to = data.now();
  const from = to - choice.minutes * 60000;
  const all = [...data.alerts.open, ...data.alerts.past].filter((alert) => alert.host === shownHost);
  for (const chart of charts) {
    const points = (series[chart.panel.key] ?? []).filter(([time]) => time >= from);
    const marks = all.filter((alert) => chart.panel.rules.includes(alert.rule)).map((alert) => ({
      from: alert.started_at, to: alert.ended_at ?? to, text: `${alert.rule}: ${alert.summary}`,
    }));
    chart.set(points, from, to, marks, shownHost ?? "no host");
  }
}

function drawRate() {
  const to = data.now();
  // Counts reach back an hour.
  bars.set(data.rate, data.step, data.levels, to - Math.min(choice.minutes, 60) * 60000, to);
}

const PHASES = { starting: "starting", catching_up: "catching up", live: "live", stopped: "stopped" };

function drawStatus() {
  const { status } = data;
  const phase = data.connected ? status?.phase.name ?? "starting" : status?.phase.name === "stopped" ? "stopped" : "lost";
  const pill = byId("phase");
  pill.dataset.phase = phase;
  const percent = status?.phase.percent;
  const text = phase === "lost" ? "connection lost, trying again" : PHASES[phase];
  say(pill.lastElementChild, phase === "catching_up" && percent !== null ? `${text}, ${Math.floor(percent)} %` : text);
  byId("progress").parentElement.hidden = phase !== "catching_up";
  if (!status) return;
  byId("progress").style.setProperty("--share", String((percent ?? 0) / 100));
  say(byId("records"), whole(status.records));
  say(byId("rate"), whole(status.records_per_second));
  say(byId("behind"), status.watermark_delay === null ? "–" : status.watermark_delay < 120 ? `${status.watermark_delay.toFixed(1)} s` : span(status.watermark_delay * 1000));
  say(byId("hosts"), status.left_out ? `${whole(status.hosts)}+` : whole(status.hosts));
  const open = status.open_alerts;
  const title = open ? `(${open}) tidewatch` : "tidewatch";
  if (document.title !== title) document.title = title;
}

function drawRanges() {
  byId("ranges").replaceChildren(...RANGES.filter(([minutes]) => minutes <= 60 || data.stored).map(([minutes, text]) => el("button", {
    type: "button", "aria-pressed": String(minutes === choice.minutes),
    onclick: () => { choice.minutes = minutes; writeAddress(); drawRanges(); drawRate(); fetchSeries(); },
  }, text)));
}

function setTheme(theme) {
  choice.theme = theme;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(byId("theme"), theme[0].toUpperCase() + theme.slice(1));
}

byId("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(choice.theme) + 1) % THEMES.length]);
  writeAddress();
});
addEventListener("hashchange", () => { readAddress(); setTheme(choice.theme); drawRanges(); choose(choice.host, false); });

readAddress();
setTheme(choice.theme);
drawRanges();
if (choice.host) say(byId("host-title"), choice.host);
logs.search();
// Time passes also while nothing comes: ages grow and charts move.
setInterval(() => {
  alerts.grow(data.now());
  if (data.status && byId("ranges").childElementCount !== RANGES.length && data.stored) drawRanges();
  if (document.visibilityState === "visible" && data.connected) { drawCharts(); drawRate(); }
}, 1000);
