// Amplitude's browser SDK in headless Chromium, on a page from another origin than the server.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { run, setting } from './program.mjs';

const SDK = '@amplitude/analytics-browser';
const SCRIPT = new URL(`node_modules/${SDK}/lib/scripts/amplitude-min.umd.js`, import.meta.url);
const STEP_MS = 20_000;

// Nothing but loopback can be reached, whatever the SDK or the browser would like to fetch.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/** Serves an empty shop page and the SDK; returns its origin. */
async function pages() {
  const script = readFileSync(SCRIPT);
  const server = createServer((request, response) => {
    if (request.url === '/amplitude.js') {
      response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    } else if (request.url === '/favicon.ico') {
      response.writeHead(204).end();
    } else {
      response
        .writeHead(200, { 'content-type': 'text/html' })
        .end('<!doctype html><title>Shop</title><h1>Shop</h1><script src="/amplitude.js"></script>');
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

/** Opens the page in a fresh profile and notes every upload that it makes. */
async function visit(browser, origin, uploads, path) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_MS);
  page.on('pageerror', (error) => process.stderr.write(`page: ${error}\n`));
  context.on('request', (request) => {
    if (request.url() === setting('ISTHMUS_URL')) {
      const headers = request.headers();
      uploads.push({
        page: path,
        method: request.method(),
        type: request.resourceType(),
        content_type: headers['content-type'],
        content_encoding: headers['content-encoding'],
      });
    }
  });
  await page.goto(`${origin}${path}`);
  return page;
}

/** Options that every page gives to `init`. */
function options(more = {}) {
  return {
    serverUrl: setting('ISTHMUS_URL'),
    autocapture: false,
    flushIntervalMillis: 50,
    remoteConfig: { fetchRemoteConfig: false },
    enableDiagnostics: false,
    logLevel: 0,
    ...more,
  };
}

/** `init` in the page; `window.settle` turns what the SDK returns into plain data. */
async function start(page, user, more) {
  await page.evaluate(
    async ([key, user, options]) => {
      window.settle = async (sent) => {
        const results = await Promise.all(sent.map((each) => each.promise));
        return results.map(({ event, code, message }) => ({ event_type: event.event_type, code, message }));
      };
      await amplitude.init(key, user, options).promise;
    },
    [setting('ISTHMUS_API_KEY'), user, options(more)],
  );
}

run(SDK, {
  async full() {
    const origin = await pages();
    const browser = await chromium.launch({
      executablePath: setting('CHROMIUM'),
      args: FLAGS,
      timeout: STEP_MS,
    });
    const uploads = [];
    const results = {};

    const shop = await visit(browser, origin, uploads, '/shop');
    await start(shop, 'browser-user-1');
    results.fetch = await shop.evaluate(() => {
      const { Identify, Revenue } = amplitude;
      const first = new Identify().set('plan', 'free').set('seats', 1).set('scratch', 'soon gone').set('tags', ['new']);
      const second = new Identify().set('plan', 'pro').add('seats', 4).append('tags', 'vip').unset('scratch');
      const company = new Identify().set('tier', 'gold');
      const revenue = new Revenue().setProductId('kettle').setPrice(12.5).setQuantity(2);
      return settle([
        amplitude.identify(first),
        amplitude.track('Product Viewed', { product: 'kettle', price: 39.5, in_stock: true }),
        amplitude.identify(second),
        amplitude.setGroup('company', 'Acme'),
        amplitude.groupIdentify('company', 'Acme', company),
        amplitude.track('Order Completed', { total: 84.5, items: 3, gift: false, coupons: ['A', 'B'], note: '多言語 ✓' }),
        amplitude.revenue(revenue),
      ]);
    });

    // The page goes away with an event still in memory: only the beacon can carry it.
    const leaving = await visit(browser, origin, uploads, '/leaving');
    await start(leaving, 'browser-user-2', { flushIntervalMillis: 60_000 });
    await leaving.evaluate(() => {
      addEventListener('pagehide', () => {
        amplitude.setTransport('beacon');
        amplitude.flush();
      });
      amplitude.track('Product Viewed', { product: 'beacon' });
    });
    await leaving.goto(`${origin}/elsewhere`);

    const gzip = await visit(browser, origin, uploads, '/gzip');
    await start(gzip, 'browser-user-3', { enableRequestBodyCompression: true });
    results.gzip = await gzip.evaluate(() =>
      settle([amplitude.track('Product Viewed', { product: 'gzip', filler: 'long text '.repeat(1_000) })]),
    );

    const xhr = await visit(browser, origin, uploads, '/xhr');
    await start(xhr, 'browser-user-4', { transport: 'xhr' });
    results.xhr = await xhr.evaluate(() => settle([amplitude.track('Product Viewed', { product: 'xhr' })]));

    // What the SDK captures by itself.
    const curious = await visit(browser, origin, uploads, '/curious?utm_source=letter');
    await start(curious, 'browser-user-5', {
      autocapture: { attribution: true, pageViews: true, sessions: true, formInteractions: false, fileDownloads: false, elementInteractions: false },
    });
    results.captured = await curious.evaluate(() => settle([amplitude.track('Product Viewed', { product: 'captured' })]));

    const wrong = await visit(browser, origin, uploads, '/wrong-key');
    results.wrong_key = await wrong.evaluate(async (options) => {
      await amplitude.init('no-such-key', 'browser-user-6', options).promise;
      const { code, message } = await amplitude.track('Product Viewed').promise;
      return { code, message };
    }, options());

    await browser.close();
    return { results, uploads, browser: browser.version() };
  },
});
