// What the page asks of the server. Addresses are relative to the page's own.

import { recall, remember } from "./dom.js";

let token = recall("sessionStorage", "token");

export function setToken(text) {
	token = text.trim();
	remember("sessionStorage", "token", token);
}

// A token that comes in the address is moved to this tab's storage, where it is not seen and not bookmarked.
if (location.hash.startsWith("#token=")) {
	setToken(decodeURIComponent(location.hash.slice(7)));
	history.replaceState(null, "", location.pathname + location.search);
}

// Fault has a sentence for the user.
export class Fault extends Error {
	constructor(text, status) {
		super(text);
		this.status = status;
	}
}

const broken = "The connection broke off before the answer ended. Regenerate when the server is back.";

async function call(path, body, signal) {
	const headers = token ? { Authorization: `Bearer ${token}` } : {};
	const post = body && { method: "POST", body: JSON.stringify(body) };
	if (body) headers["Content-Type"] = "application/json";
	let response;
	try {
		response = await fetch(path, { ...post, headers, signal, cache: "no-store" });
	} catch {
		throw new Fault("The server does not answer. See whether it is running and this device is connected.");
	}
	if (response.ok) return response;
	const said = (await response.json().catch(() => null))?.error?.message;
	throw new Fault(said || `The server said ${response.status} and no reason.`, response.status);
}

// models is what the server has; package web documents the fields.
export async function models(wanted) {
	return (await call(`page/models${wanted ? `?model=${encodeURIComponent(wanted)}` : ""}`)).json();
}

export const vote = (kind, model, id, messages) => call("page/vote", { vote: kind, model, id, messages });

// answer yields {place} while a question waits, then chunks of OpenAI's form. It ends without a Fault if all has come.
export async function* answer(request, signal) {
	const response = await call("v1/chat/completions",
		{ ...request, stream: true, stream_options: { include_usage: true } }, signal);
	for await (const line of lines(response.body)) {
		if (line.startsWith(":")) yield { place: Number(/waiting (\d+)/.exec(line)?.[1] ?? 0) };
		if (!line.startsWith("data:")) continue;
		const data = line.slice(5).trim();
		if (data === "[DONE]") return;
		const event = JSON.parse(data);
		if (event.error) throw new Fault(event.error.message || broken);
		yield event;
	}
	throw new Fault(broken);
}

async function* lines(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = []; // of a line, in pieces: lines can be long
	try {
		for (;;) {
			const { value, done } = await reader.read().catch(() => ({ done: true }));
			if (done) return;
			const [first, ...others] = value.split("\n");
			rest.push(first);
			for (const next of others) {
				yield rest.join("");
				rest = [next];
			}
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}
