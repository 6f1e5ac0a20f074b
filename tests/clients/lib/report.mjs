// How a scenario talks to the test that runs it: one JSON object a line.
// Out: {"did": …, "steps": […]} for everything shown to work. In: one word a line (see `told`).
import readline from "node:readline";

const lines = readline.createInterface({ input: process.stdin });
const heard = [];
const waiting = [];

lines.on("line", (line) => {
  const word = line.trim();
  const index = waiting.findIndex((wait) => wait.word === word);
  if (index >= 0) waiting.splice(index, 1)[0].resolve();
  else heard.push(word);
});

/** Says what was shown to work; `steps` are the seed's step numbers that it covers. */
export function did(what, facts = {}) {
  process.stdout.write(JSON.stringify({ did: what, ...facts }) + "\n");
}

/** Waits until the test says `word`. */
export function told(word) {
  const index = heard.indexOf(word);
  if (index >= 0) {
    heard.splice(index, 1);
    return Promise.resolve();
  }
  return new Promise((resolve) => waiting.push({ word, resolve }));
}

export function check(condition, complaint) {
  if (!condition) throw new Error(complaint);
}

/** Resolves with the first truthy value of `probe`; fails with `what` after `seconds`. */
export async function until(what, probe, seconds = 20) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`gave up waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Runs a scenario to its end: exit code 0, or 1 with the reason as the last line. */
export async function scenario(run) {
  try {
    await run();
    process.exit(0);
  } catch (error) {
    process.stdout.write(JSON.stringify({ failed: String(error?.stack ?? error) }) + "\n");
    process.exit(1);
  }
}
