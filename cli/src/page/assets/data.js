// What the page knows, loaded from the API and kept fresh by server-sent events.

/** One JSON answer; throws with the server's words when there is none. */
export async function load(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `${path} answered ${answer.status}`);
  return body;
}

const LOG_STEPS_MAX = 400;

/** The state of the page. `changed(what)` is called with "status", "hosts", "alerts", "rate" or "series". */
export class Data {
  constructor(changed) {
    this.changed = changed;
    this.connected = false;
    this.status = null;
    this.panels = [];
    this.hosts = new Map();
    this.alerts = { open: [], past: [], open_count: 0, version: -1 };
    this.rate = new Map();
    this.step = 10000;
    this.levels = [];
    /** Server time minus this machine's. */
    this.skew = 0;
    this.listen();
  }

  now() {
    return Date.now() + this.skew;
  }

  listen() {
    const events = new EventSource("/events");
    // Each connection begins with everything anew: what was said in between is lost.
    events.addEventListener("open", () => {
      this.connected = true;
      this.reload();
    });
    events.addEventListener("error", () => {
      this.connected = false;
      this.changed("status");
    });
    events.addEventListener("reload", () => this.reload());
    events.addEventListener("tick", (event) => this.tick(JSON.parse(event.data)));
  }

  async reload() {
    try {
      const [status, hosts, alerts, rate] = await Promise.all([
        load("/api/status"), load("/api/hosts"), load("/api/alerts"), load("/api/log-rate"),
      ]);
      this.panels = status.panels;
      this.stored = status.stored;
      this.setStatus(status);
      this.hosts = new Map(hosts.map((host) => [host.host, host]));
      this.alerts = alerts;
      this.step = rate.step;
      this.levels = rate.levels;
      this.rate = new Map(rate.rate.map((step) => [step.time, step.levels]));
      for (const what of ["panels", "status", "hosts", "alerts", "rate", "series"]) this.changed(what);
    } catch (error) {
      console.warn(`could not load: ${error.message}`);
    }
  }

  setStatus(status) {
    this.status = status;
    this.skew = status.now - Date.now();
  }

  tick(tick) {
    if (this.status === null) return;
    this.setStatus(tick.status);
    this.changed("status");
    const fresh = Object.entries(tick.points);
    for (const [name, values] of fresh) {
      const host = this.hosts.get(name);
      if (host) Object.assign(host.values, values);
      else this.hosts.set(name, { host: name, values, alerts: 0 });
    }
    if (fresh.length > 0) this.changed("hosts");
    if (tick.rewritten) this.changed("series");
    else if (fresh.length > 0) this.changed("points", tick.points);
    for (const step of tick.rate) this.rate.set(step.time, step.levels);
    if (tick.rate.length > 0) {
      const excess = this.rate.size - LOG_STEPS_MAX;
      if (excess > 0) [...this.rate.keys()].sort((a, b) => a - b).slice(0, excess).forEach((time) => this.rate.delete(time));
      this.changed("rate");
    }
    if (tick.status.alerts_version !== this.alerts.version) this.loadAlerts();
  }

  async loadAlerts() {
    if (this.loading) return;
    this.loading = true;
    try {
      this.alerts = await load("/api/alerts");
      this.changed("alerts");
    } catch (error) {
      console.warn(`could not load alerts: ${error.message}`);
    } finally {
      this.loading = false;
    }
  }
}
