// Amplitude's Node SDK, as a service would use it.

import { createInstance, Identify, Revenue, Types } from '@amplitude/analytics-node';
import { subscribe } from 'node:diagnostics_channel';
import { run, setting } from './program.mjs';

const SDK = '@amplitude/analytics-node';
const PERSON = { user_id: 'node-user-1', device_id: 'node-device-1' };

// The status of each answer that the SDK got, in order.
const statuses = [];
subscribe('http.client.response.finish', ({ response }) => statuses.push(response.statusCode));

/** A client that flushes by itself, soon. */
async function client(options = {}) {
  const amplitude = createInstance();
  await amplitude.init(options.apiKey ?? setting('ISTHMUS_API_KEY'), {
    serverUrl: setting('ISTHMUS_URL'),
    flushIntervalMillis: 50,
    logLevel: Types.LogLevel.None,
    ...options,
  }).promise;
  return amplitude;
}

/** What the SDK told its caller about each event. */
async function settled(sent) {
  const results = await Promise.all(sent.map((each) => each.promise));
  return results.map(({ event, code, message }) => ({
    event_type: event.event_type,
    user_id: event.user_id,
    insert_id: event.insert_id,
    code,
    message,
  }));
}

run(SDK, {
  async full() {
    // One flush at the end, so that all go in one request in this order.
    const amplitude = await client({ flushIntervalMillis: 30_000 });
    const first = new Identify()
      .set('plan', 'free')
      .set('seats', 1)
      .set('beta', true)
      .set('scratch', 'soon gone')
      .set('tags', ['new'])
      .setOnce('first_plan', 'free');
    const second = new Identify()
      .set('plan', 'pro')
      .add('seats', 4)
      .append('tags', 'vip')
      .unset('scratch')
      .setOnce('first_plan', 'pro');
    // One operation per property is all that an Identify takes.
    const more = [
      new Identify().postInsert('tags', 'vip').prepend('badges', 'gold'),
      new Identify().preInsert('tags', 'early'),
      new Identify().remove('tags', 'new'),
    ];
    const company = new Identify().set('tier', 'gold');
    const revenue = new Revenue().setProductId('kettle').setPrice(12.5).setQuantity(2).setRevenueType('sale');
    const sent = [
      amplitude.identify(first, PERSON),
      amplitude.track('Product Viewed', { product: 'kettle', price: 39.5, in_stock: true }, PERSON),
      amplitude.identify(second, PERSON),
      ...more.map((each) => amplitude.identify(each, PERSON)),
      amplitude.setGroup('company', 'Acme', PERSON),
      amplitude.groupIdentify('company', 'Acme', company, PERSON),
      amplitude.track(
        'Order Completed',
        { total: 84.5, items: 3, gift: false, currency: 'EUR', coupons: ['A', 'B'], internal_ref: 'x' },
        { ...PERSON, groups: { company: 'Acme' } },
      ),
      amplitude.track('Not Selected', { total: 1 }, PERSON),
      amplitude.revenue(revenue, PERSON),
    ];
    await amplitude.flush().promise;
    return { results: await settled(sent), statuses };
  },

  async 'wrong-key'() {
    const amplitude = await client({ apiKey: 'no-such-key' });
    const results = await settled([amplitude.track('Product Viewed', {}, PERSON)]);
    return { results, statuses };
  },

  async 'bad-among-good'() {
    // Long enough that all five are in one request.
    const amplitude = await client({ flushIntervalMillis: 500 });
    const people = ['node-good-1', 'node-good-2', 'ab', 'node-good-3', 'node-good-4'];
    const sent = people.map((user_id) => amplitude.track('Product Viewed', { product: user_id }, { user_id }));
    return { results: await settled(sent), statuses };
  },

  async split() {
    // The interval is long enough that a slow machine has queued all of them before it ends: they
    // go as one request, which is one event too large. What is split follows an interval later.
    // (An explicit flush would send them at once, but does not try again what was refused.)
    const amplitude = await client({ flushIntervalMillis: 10_000, flushQueueSize: 2_048 });
    const sent = Array.from({ length: 2_001 }, (_, at) =>
      amplitude.track('Product Viewed', { product: `${at}` }, { user_id: `node-split-${at % 100}` }),
    );
    return { results: await settled(sent), statuses };
  },
});
