// What every program here shares: its settings, its deadline, its one line of output.

import { readFileSync } from 'node:fs';

const DEADLINE_MS = 60_000;

/** The value of the environment variable `name`; ends the program when it is missing. */
export function setting(name) {
  const value = process.env[name];
  if (!value) {
    fail(new Error(`${name} is not set`));
  }
  return value;
}

/** The installed version of the package `name`. */
export function versionOf(name) {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')).version;
}

/** Runs the scenario named on the command line and prints what it returns as one JSON object. */
export async function run(sdk, scenarios) {
  const name = process.argv[2] ?? 'full';
  const scenario = scenarios[name];
  if (!scenario) {
    fail(new Error(`no scenario is called ${name}; there are ${Object.keys(scenarios).join(', ')}`));
  }
  setTimeout(() => fail(new Error(`not finished after ${DEADLINE_MS} ms`)), DEADLINE_MS).unref();
  try {
    const outcome = await scenario();
    const text = JSON.stringify({ sdk, version: versionOf(sdk), scenario: name, ...outcome });
    process.stdout.write(`${text}\n`, () => process.exit(0));
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  process.stderr.write(`${error?.stack ?? error}\n`);
  process.exit(1);
}
