// Elements and formats. Text always becomes a text node, so nothing from data is ever read as markup.

/** An element with attributes (`on...` are listeners, `null` is left out) and children. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only where it changed, so that screen readers and selections are left in peace. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const whole = (value) => numbers.format(value);

/** A value with its unit, three digits that matter. */
export function amount(value, unit) {
  if (value === undefined || value === null) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : 1;
  const gap = unit ? "\u202f" : "";
  return `${value.toFixed(digits)}${gap}${unit}`;
}

const pad = (value) => String(value).padStart(2, "0");

/** Time of day on this machine's clock. */
export function clock(millis, seconds = true) {
  const at = new Date(millis);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  return seconds ? `${time}:${pad(at.getSeconds())}` : time;
}

/** Day and time, for titles. */
export const stamp = (millis) => new Date(millis).toISOString().replace("T", " ").replace("Z", " UTC");

/** A length of time for people: 42 s, 5 min 10 s, 3 h 4 min. */
export function span(millis) {
  const seconds = Math.max(0, Math.round(millis / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Calls `work` at most once per `every` milliseconds, the last call never lost. */
export function throttled(every, work) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer !== null) return;
    const wait = Math.max(0, last + every - performance.now());
    timer = setTimeout(() => {
      timer = null;
      last = performance.now();
      work();
    }, wait);
  };
}
