// Makes the corpus's requests with one of Node's clients: fetch or http. BASE and
// FILES are in the environment, targets and names of files beside this program.
import { readFileSync } from "node:fs";
import http from "node:http";

const { BASE, FILES } = process.env;
const lines = (name) => readFileSync(new URL(name, import.meta.url), "utf-8").trimEnd().split("\n");
const targets = [...lines("targets.txt").map((line) => BASE + line), ...lines("files.txt").map((line) => FILES + line)];
const binary = (length) => Uint8Array.from({ length }, (_, i) => i % 256);
const bodies = [0, 1, 256, 65536, 65537, 1 << 20].map(binary);

async function* chunks() {
  yield binary(3);
  yield binary(100000);
}

async function withFetch() {
  const send = async (url, options) => (await fetch(url, options)).arrayBuffer();
  for (const target of targets) await send(target);
  for (const body of bodies) await send(BASE + "/body", { method: "POST", body });
  await send(BASE + "/body", { method: "PUT", body: chunks(), duplex: "half" });
  await send(BASE + "/body", { method: "POST", body: JSON.stringify({ größe: 1 }), headers: { "Content-Type": "application/json" } });
  await send(BASE + "/body", { method: "POST", body: new URLSearchParams({ a: "b c", ü: "€" }) });
  for (const method of ["PATCH", "DELETE", "OPTIONS", "HEAD"]) await send(BASE + "/method?x", { method });
}

async function withHTTP() {
  const agent = new http.Agent({ keepAlive: true });
  const { origin, pathname } = new URL(BASE);
  const send = (method, path, body, headers) =>
    new Promise((resolve, reject) => {
      const request = http.request(origin, { method, path, agent, headers }, (response) => response.resume().on("end", resolve));
      request.on("error", reject);
      for (const part of body ?? []) request.write(part);
      request.end();
    });
  // http writes a path as Latin-1: given the bytes of UTF-8 as characters, it sends those.
  for (const target of targets) await send("GET", Buffer.from(target.slice(origin.length)).toString("latin1"));
  for (const body of bodies) await send("POST", pathname + "/body", [body], { "Content-Length": body.length });
  await send("PUT", pathname + "/body", [binary(3), binary(100000)]);
  for (const method of ["DELETE", "OPTIONS", "HEAD", "PATCH"]) await send(method, pathname + "/method?x");
  agent.destroy();
}

await { fetch: withFetch, http: withHTTP }[process.argv[2]]();
