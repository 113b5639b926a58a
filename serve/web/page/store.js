// Conversations live in this browser (IndexedDB), pictures beside them as files. A conversation is
//
//	{id, title, created, changed, version, compare, turns: [{id, text, pictures, answers}]}
//
// a picture of a turn {id, name, width, height, note}, and an answer {model, text, state, fault, stats, id, vote} with
// state "waiting", "streaming", "done", "stopped" or "fault".

import { newID } from "./dom.js";
import { dataURL, fromDataURL } from "./pictures.js";

const blobs = new Map(); // of pictures seen in this tab, so that what was removed can be undone
const channel = "BroadcastChannel" in self ? new BroadcastChannel("llavatrain") : null;
let database; // a promise; of null where the browser keeps nothing

const finished = (request) => new Promise((done, fail) => {
	request.onsuccess = () => done(request.result);
	request.onerror = () => fail(request.error);
});

function open() {
	database ??= (async () => {
		const request = indexedDB.open("llavatrain", 1);
		request.onupgradeneeded = () => {
			request.result.createObjectStore("conversations", { keyPath: "id" });
			request.result.createObjectStore("pictures"); // by [conversation, picture]
		};
		const found = await finished(request);
		found.onversionchange = () => found.close();
		return found;
	})().catch(() => null);
	return database;
}

// inside runs a transaction and waits until it is on disk; undefined where the browser keeps nothing.
async function inside(mode, work) {
	const found = await open();
	if (!found) return undefined;
	const transaction = found.transaction(["conversations", "pictures"], mode);
	const complete = new Promise((done, fail) => {
		transaction.oncomplete = done;
		transaction.onabort = () => fail(transaction.error);
	});
	const result = await work(transaction.objectStore("conversations"), transaction.objectStore("pictures"));
	await complete;
	return result;
}

const picturesOf = (conversation) => conversation.turns.flatMap((turn) => turn.pictures.map((picture) => picture.id));
const range = (id) => IDBKeyRange.bound([id], [id, []]);

// works says whether anything is kept.
export const works = async () => (await open()) !== null;

// onChange is called with the id of a conversation that another tab has changed.
export function onChange(listener) {
	channel?.addEventListener("message", (event) => listener(event.data));
}

export function newConversation(compare = false) {
	return { id: newID(), title: "", created: Date.now(), changed: Date.now(), version: 0, compare, turns: [] };
}

// list is all conversations, the last changed first.
export async function list() {
	const all = (await inside("readonly", (conversations) => finished(conversations.getAll()))) ?? [];
	return all.sort((a, b) => b.changed - a.changed);
}

export const load = (id) => inside("readonly", (conversations) => finished(conversations.get(id)));

export const keepBlob = (id, blob) => blobs.set(id, blob);

// picture is a picture's file; undefined if it is lost.
export async function picture(conversation, id) {
	if (!blobs.has(id)) {
		const found = await inside("readonly", (_, pictures) => finished(pictures.get([conversation.id, id])));
		if (found) blobs.set(id, found);
	}
	return blobs.get(id);
}

// save writes a conversation with its pictures. If another tab has written it meanwhile, this one becomes a conversation
// of its own, so that neither loses anything, and the result is "copied".
export async function save(conversation) {
	let result = "saved";
	for (const id of picturesOf(conversation)) await picture(conversation, id);
	await inside("readwrite", async (conversations, pictures) => {
		const stored = await finished(conversations.get(conversation.id));
		if (stored && stored.version !== conversation.version) {
			conversation.id = newID();
			conversation.title = `${conversation.title} (copy)`;
			result = "copied";
		}
		conversation.version++;
		conversations.put(structuredClone(conversation));
		const wanted = new Set(picturesOf(conversation));
		for (const [, id] of await finished(pictures.getAllKeys(range(conversation.id)))) {
			if (!wanted.delete(id)) pictures.delete([conversation.id, id]);
		}
		for (const id of wanted) if (blobs.has(id)) pictures.put(blobs.get(id), [conversation.id, id]);
	});
	channel?.postMessage(conversation.id);
	return result;
}

// remove deletes a conversation. Its pictures stay in memory: save brings all back.
export async function remove(conversation) {
	for (const id of picturesOf(conversation)) await picture(conversation, id);
	await inside("readwrite", (conversations, pictures) => {
		conversations.delete(conversation.id);
		pictures.delete(range(conversation.id));
	});
	conversation.version = 0;
	channel?.postMessage(conversation.id);
}

const kind = "llavatrain conversations";

// exported is a file of all conversations.
export async function exported() {
	const parts = [];
	for (const conversation of await list()) {
		const files = {};
		for (const id of picturesOf(conversation)) {
			const blob = await picture(conversation, id);
			if (blob) files[id] = await dataURL(blob);
		}
		parts.push(parts.length ? ",\n" : "", JSON.stringify({ ...conversation, files }));
	}
	return new Blob([`{"kind": ${JSON.stringify(kind)}, "conversations": [\n`, ...parts, "\n]}\n"],
		{ type: "application/json" });
}

// imported adds the conversations of such a file and says how many. Nothing of the file is taken as it is.
export async function imported(file) {
	let content;
	try {
		content = JSON.parse(await file.text());
	} catch { /* said below */ }
	if (content?.kind !== kind || !Array.isArray(content.conversations)) {
		throw new Error(`${file.name} is not a file that Export has written.`);
	}
	const known = new Set((await list()).map((conversation) => conversation.id + conversation.changed));
	let added = 0;
	for (const raw of content.conversations) {
		if (known.has(raw?.id + raw?.changed)) continue;
		const conversation = checked(raw);
		if (conversation.turns.length === 0) continue;
		await save(conversation);
		added++;
	}
	return added;
}

const text = (value, most = 1 << 24) => (typeof value === "string" ? value.slice(0, most) : "");
const count = (value) => (Number.isFinite(value) && value >= 0 ? value : 0);
const array = (value) => (Array.isArray(value) ? value : []);

// checked makes a conversation of what a file says of one, with ids of our own.
function checked(raw) {
	const ids = new Map(Object.entries(raw?.files ?? {}).map(([id, url]) => {
		const blob = fromDataURL(text(url));
		const own = newID();
		if (blob) keepBlob(own, blob);
		return [id, blob && own];
	}));
	const turns = array(raw?.turns).map((turn) => ({
		id: newID(),
		text: text(turn?.text),
		pictures: array(turn?.pictures).filter((picture) => ids.get(picture?.id)).map((picture) => ({
			id: ids.get(picture.id), name: text(picture.name, 200), note: text(picture.note, 200),
			width: count(picture.width), height: count(picture.height),
		})),
		answers: array(turn?.answers).slice(0, 2).map((answer) => ({
			model: text(answer?.model, 200), text: text(answer?.text), id: text(answer?.id, 100),
			fault: text(answer?.fault, 1000),
			state: ["done", "fault"].includes(answer?.state) ? answer.state : "stopped",
			stats: answer?.stats && Object.fromEntries(["first", "rate", "prompt", "cached", "answer"]
				.map((name) => [name, count(answer.stats[name])])),
			vote: ["upvote", "downvote", "flag"].includes(answer?.vote) ? answer.vote : "",
		})),
	}));
	return { ...newConversation(Boolean(raw?.compare)), title: text(raw?.title, 200), turns,
		created: count(raw?.created), changed: count(raw?.changed) };
}
