// Looks at the live page with a headless browser, as a person would.
//
//   node page.cjs URL CHROMIUM PICTURE
//
// Passes when, within the time limit, every chart has data and at least one
// alert is shown, and until then the page logged no error, threw nothing, and
// asked nobody but its own server for anything (it has to work without a
// network). Leaves a picture of the page either way.
//
// What it relies on in the page:
//   data-chart="NAME" data-points="COUNT"   on each chart: cpu, memory, disk, logs
//   data-alert                              on each alert, open or past

'use strict';

const { chromium } = require('playwright-core');

const CHARTS = ['cpu', 'memory', 'disk', 'logs'];
const POINTS_MIN = 10;
const REACHABLE_LIMIT = 60_000;
const CONTENT_LIMIT = 180_000;

const [url, executablePath, picture] = process.argv.slice(2);

// The program may still be starting: only its silence for too long is an error.
async function reachable() {
  const deadline = Date.now() + REACHABLE_LIMIT;
  for (;;) {
    try {
      return await fetch(url);
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

// What is still missing on the page; nothing when it is complete.
function missing([charts, least]) {
  const lacking = charts.filter((name) => {
    const chart = document.querySelector(`[data-chart="${name}"]`);
    return !chart || !(Number(chart.dataset.points) >= least);
  });
  const alerts = document.querySelectorAll('[data-alert]').length;
  return alerts > 0 ? lacking : [...lacking, 'alerts'];
}

async function main() {
  await reachable();
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
  const complaints = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
    page.on('pageerror', (error) => complaints.push(`thrown: ${error.message}`));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(`logged: ${message.text()}`);
    });
    page.on('request', (request) => {
      const asked = new URL(request.url());
      const own = asked.origin === new URL(url).origin || ['data:', 'blob:'].includes(asked.protocol);
      if (!own) complaints.push(`asked ${asked.origin}`);
    });
    await page.goto(url, { waitUntil: 'domcontentloaded' });
    const deadline = Date.now() + CONTENT_LIMIT;
    let lacking;
    do {
      await new Promise((resolve) => setTimeout(resolve, 500));
      lacking = await page.evaluate(missing, [CHARTS, POINTS_MIN]);
    } while (lacking.length > 0 && Date.now() < deadline);
    await page.screenshot({ path: picture, fullPage: true });
    const alerts = await page.locator('[data-alert]').count();
    if (lacking.length > 0) complaints.push(`without data: ${lacking.join(', ')}`);
    console.log(`title: ${await page.title()}; alerts: ${alerts}`);
  } finally {
    await browser.close();
  }
  complaints.forEach((complaint) => console.error(complaint));
  process.exitCode = complaints.length > 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
