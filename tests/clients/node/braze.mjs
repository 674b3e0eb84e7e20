// The community's Braze client, against the emulator.

import { Braze } from 'braze-api';
import { run, setting } from './program.mjs';

/** What a call returned, or how it failed. */
async function outcome(call) {
  try {
    return { ok: await call };
  } catch (error) {
    return { status: error.status, message: error.message, errors: error.errors };
  }
}

run('braze-api', {
  async full() {
    const braze = new Braze(setting('ISTHMUS_URL'), setting('ISTHMUS_API_KEY'));
    const alias = { alias_name: 'visitor-1', alias_label: 'web' };
    // Exports look back 90 days.
    const time = new Date(Date.now() - 60_000).toISOString();
    const fields = ['external_id', 'user_aliases', 'first_name', 'custom_attributes', 'custom_events', 'purchases'];
    const exported = (...ids) => outcome(braze.users.export.ids({ external_ids: ids, fields_to_export: fields }));
    const steps = {};

    steps.track = await outcome(
      braze.users.track({
        attributes: [
          { external_id: 'api-1', first_name: 'Ada', plan: 'pro', seats: 5, beta: true, tags: ['a', 'b'], home: { city: 'Kyoto' } },
          { external_id: 'api-2', plan: 'free' },
        ],
        events: [
          { external_id: 'api-1', app_id: 'app-1', name: 'Order Completed', time, properties: { total: 84.5, gift: false } },
          { external_id: 'api-1', name: 'Order Completed', time },
        ],
        purchases: [{ external_id: 'api-1', product_id: 'kettle', currency: 'EUR', price: 39.5, quantity: 2, time }],
      }),
    );
    steps.track_bulk_header = await outcome(
      braze.users.track({ attributes: [{ external_id: 'api-2', seats: 2 }], events: [], purchases: [] }, true),
    );
    steps.track_partial = await outcome(
      braze.users.track({
        events: [
          { external_id: 'api-2', name: 'Trial Started', time },
          { external_id: 'api-2', name: '', time },
        ],
      }),
    );
    steps.track_nothing_valid = await outcome(braze.users.track({ events: [{ external_id: 'api-2', name: 'No time' }] }));
    steps.alias_new = await outcome(braze.users.alias.new({ user_aliases: [alias] }));
    steps.track_alias = await outcome(
      braze.users.track({
        attributes: [{ user_alias: alias, _update_existing_only: false, visits: 3 }],
        events: [{ user_alias: alias, _update_existing_only: false, name: 'Page Viewed', time }],
      }),
    );
    steps.identify = await outcome(
      braze.users.identify({ aliases_to_identify: [{ external_id: 'api-3', user_alias: alias }] }),
    );
    steps.export = await exported('api-1', 'api-2', 'api-3', 'nobody');
    steps.merge = await outcome(
      braze.users.merge({
        merge_updates: [{ identifier_to_merge: { external_id: 'api-2' }, identifier_to_keep: { external_id: 'api-1' } }],
      }),
    );
    steps.export_merged = await exported('api-1', 'api-2');
    steps.delete = await outcome(braze.users.delete({ external_ids: ['api-3'] }));
    steps.export_deleted = await exported('api-3');
    return { steps };
  },
});
