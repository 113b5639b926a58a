// What the page asks of the server. Addresses are relative to the page's own.

const tokenKey = "llavatrain.token";

takeToken();

// takeToken moves a token from the address, where it would be bookmarked and shown, to this tab's storage.
function takeToken() {
	const found = /^#token=(.+)$/.exec(location.hash);
	if (!found) return;
	setToken(decodeURIComponent(found[1]));
	history.replaceState(null, "", location.pathname + location.search);
}

export function setToken(token) {
	try {
		sessionStorage.setItem(tokenKey, token.trim());
	} catch { /* a browser that keeps nothing asks again after a reload */ }
	setToken.last = token.trim();
}

function token() {
	try {
		return sessionStorage.getItem(tokenKey) ?? setToken.last;
	} catch {
		return setToken.last;
	}
}

// Fault is an error with a sentence for the user.
export class Fault extends Error {
	constructor(text, { status = 0, code = "" } = {}) {
		super(text);
		this.status = status;
		this.code = code;
	}
}

async function call(path, { method = "GET", body, signal } = {}) {
	const headers = {};
	if (token()) headers.Authorization = `Bearer ${token()}`;
	if (body !== undefined) headers["Content-Type"] = "application/json";
	let response;
	try {
		response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
	} catch (error) {
		if (signal?.aborted) throw error;
		throw new Fault("The server does not answer. See whether it is running and this device is connected to it.");
	}
	if (response.ok) return response;
	let said;
	try {
		said = (await response.json()).error;
	} catch { /* what stands between page and server has its own form */ }
	const text = typeof said?.message === "string" && said.message ? said.message
		: `The server said ${response.status} ${response.statusText} and no reason.`;
	throw new Fault(text, { status: response.status, code: said?.code });
}

// models is what the server has: see the package's documentation for the fields.
export async function models(wanted) {
	const response = await call(`page/models${wanted ? `?model=${encodeURIComponent(wanted)}` : ""}`);
	const found = await response.json().catch(() => ({}));
	if (!Array.isArray(found.models)) throw new Fault("What answers at this address is not the server of this page.");
	return found;
}

export async function vote(kind, model, id, messages) {
	return (await call("page/vote", { method: "POST", body: { vote: kind, model, id, messages } })).json();
}

// answer yields the events of an answer: {place} while it waits, and chunks of OpenAI's form. Its end without a Fault is
// the answer's.
export async function* answer(request, signal) {
	const body = { ...request, stream: true, stream_options: { include_usage: true } };
	const response = await call("v1/chat/completions", { method: "POST", body, signal });
	if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
		throw new Fault("Something between this page and the server answered in its place. Reload the page.");
	}
	for await (const line of lines(response.body, signal)) {
		if (line.startsWith(":")) {
			yield { place: Number(/waiting (\d+)/.exec(line)?.[1] ?? 0) };
			continue;
		}
		if (!line.startsWith("data:")) continue;
		const data = line.slice(5).trim();
		if (data === "[DONE]") return;
		let event;
		try {
			event = JSON.parse(data);
		} catch {
			throw new Fault("The server sent an answer that cannot be read. Regenerate, or try another model.");
		}
		if (event.error) throw new Fault(event.error.message ?? "The server failed in mid-answer.", event.error);
		yield event;
	}
	throw new Fault("The connection broke off before the answer ended. Regenerate when the server is back.");
}

const patience = 60_000; // between bytes; servers send comments while they are busy

// lines reads a body line by line.
async function* lines(body, signal) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = [];
	try {
		for (;;) {
			const { value, done } = await next(reader, signal);
			if (done) return;
			const parts = value.split("\n");
			while (parts.length > 1) {
				rest.push(parts.shift());
				yield rest.join("").replace(/\r$/, "");
				rest = [];
			}
			rest.push(parts[0]);
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}

async function next(reader, signal) {
	let timer;
	const silence = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Fault("Nothing came from the server for a minute. Regenerate to ask again.")),
			patience);
	});
	try {
		return await Promise.race([reader.read(), silence]);
	} catch (error) {
		if (signal.aborted || error instanceof Fault) throw error;
		throw new Fault("The connection broke off before the answer ended. Regenerate when the server is back.");
	} finally {
		clearTimeout(timer);
	}
}
