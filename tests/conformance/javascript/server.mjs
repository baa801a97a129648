// The server under test, and what its metrics say of it.

export const MODEL = "tiny";
export const url = process.env.POLLUX_URL;
export const keys = JSON.parse(process.env.POLLUX_KEYS);
const PATIENCE_MS = 60_000;

export async function metric(name, labels = "") {
  const text = await (await fetch(`${url}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

export async function idle() {
  const end = Date.now() + PATIENCE_MS;
  while ((await metric("pollux:requests_in_flight")) + (await metric("pollux:worker_groups")) > 0) {
    if (Date.now() > end) throw new Error("work stays in flight");
    await new Promise((later) => setTimeout(later, 20));
  }
}

export async function gathered(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}
