// Conversations live in this browser (IndexedDB), pictures beside them as files.

import { newID } from "./dom.js";
import { dataURL, fromDataURL } from "./pictures.js";

const picture = { id: "", name: "", width: 0, height: 0, note: "" };
const stats = { first: 0, rate: 0, prompt: 0, cached: 0, answer: 0 };
// state is waiting, streaming, done, stopped or fault.
const answer = { model: "", text: "", state: "", fault: "", id: "", vote: "", cut: false, stats };
const turn = { id: "", text: "", pictures: [picture], answers: [answer] };
const conversation = { id: "", title: "", changed: 0, version: 0, turns: [turn] };

const blobs = new Map(); // of pictures seen in this tab, so that what was removed can be undone
const channel = new BroadcastChannel("llavatrain");
let database; // a promise; of null where the browser keeps nothing

const finished = (request) => new Promise((done, fail) => {
	request.onsuccess = () => done(request.result);
	request.onerror = () => fail(request.error);
});

async function open() {
	try {
		const request = indexedDB.open("llavatrain", 1);
		request.onupgradeneeded = () => {
			request.result.createObjectStore("conversations", { keyPath: "id" });
			request.result.createObjectStore("pictures"); // by [conversation, picture]
		};
		return await finished(request);
	} catch {
		return null;
	}
}

export const works = async () => Boolean(await (database ??= open()));

// inside runs a transaction and waits until it is on disk; undefined where the browser keeps nothing.
async function inside(mode, work) {
	if (!await works()) return undefined;
	const transaction = (await database).transaction(["conversations", "pictures"], mode);
	const complete = new Promise((done, fail) => {
		transaction.oncomplete = done;
		transaction.onabort = () => fail(transaction.error);
	});
	const result = await work(transaction.objectStore("conversations"), transaction.objectStore("pictures"));
	await complete;
	return result;
}

const picturesOf = ({ turns }) => turns.flatMap((each) => each.pictures.map(({ id }) => id));
const range = (id) => IDBKeyRange.bound([id], [id, []]);

// onChange is called with the id of a conversation that another tab has changed.
export const onChange = (listener) => channel.addEventListener("message", (event) => listener(event.data));

export const newAnswer = (model) => ({ ...answer, model, state: "waiting" });

export const newConversation = () => ({ ...conversation, id: newID(), changed: Date.now(), turns: [] });

// list has the last changed first.
export async function list() {
	const all = (await inside("readonly", (conversations) => finished(conversations.getAll()))) ?? [];
	return all.sort((a, b) => b.changed - a.changed);
}

export const load = (id) => inside("readonly", (conversations) => finished(conversations.get(id)));

export const keepBlob = (id, blob) => blobs.set(id, blob);

// blobOf is a picture's file; undefined if it is lost.
export async function blobOf({ id: owner }, id) {
	const read = (_, pictures) => finished(pictures.get([owner, id]));
	if (!blobs.has(id)) keepBlob(id, await inside("readonly", read));
	return blobs.get(id);
}

// gather takes a conversation's pictures into memory.
export async function gather(conversation) {
	for (const id of picturesOf(conversation)) await blobOf(conversation, id);
}

// save writes a conversation with its pictures. If another tab has written it meanwhile, this one becomes another
// conversation, so that neither loses anything, and the result is true.
export async function save(conversation) {
	let copied = false;
	await gather(conversation);
	await inside("readwrite", async (conversations, pictures) => {
		const stored = await finished(conversations.get(conversation.id));
		if (stored && stored.version !== conversation.version) {
			conversation.id = newID();
			conversation.title += " (copy)";
			copied = true;
		}
		conversation.version++;
		conversations.put(structuredClone(conversation));
		const wanted = new Set(picturesOf(conversation));
		for (const key of await finished(pictures.getAllKeys(range(conversation.id)))) {
			if (!wanted.delete(key[1])) pictures.delete(key);
		}
		for (const id of wanted) if (blobs.get(id)) pictures.put(blobs.get(id), [conversation.id, id]);
	});
	channel.postMessage(conversation.id);
	return copied;
}

// remove deletes a conversation. Save brings it back, with the pictures that are in memory.
export async function remove(conversation) {
	await inside("readwrite", (conversations, pictures) => {
		conversations.delete(conversation.id);
		pictures.delete(range(conversation.id));
	});
	conversation.version = 0;
	channel.postMessage(conversation.id);
}

const kind = "llavatrain conversations";

// exported is a file of all conversations.
export async function exported() {
	const parts = [];
	for (const each of await list()) {
		const files = {};
		for (const id of picturesOf(each)) {
			const blob = await blobOf(each, id);
			if (blob) files[id] = await dataURL(blob);
		}
		parts.push(parts.length ? ",\n" : "", JSON.stringify({ ...each, files }));
	}
	return new Blob([`{"kind": "${kind}", "conversations": [\n`, ...parts, "\n]}\n"], { type: "application/json" });
}

// imported adds the conversations of such a file that are not here, and says how many. It trusts nothing in it.
export async function imported(file) {
	const content = await file.text().then(JSON.parse).catch(() => null);
	if (content?.kind !== kind || !Array.isArray(content.conversations)) {
		throw new Error(`${file.name} is not a file that Export has written.`);
	}
	const known = new Set((await list()).map(({ id, changed }) => id + changed));
	let added = 0;
	for (const raw of content.conversations) {
		const each = like(conversation, raw);
		if (each.turns.length === 0 || known.has(each.id + each.changed)) continue;
		for (const id of picturesOf(each)) {
			const blob = fromDataURL(String(raw.files?.[id]));
			if (blob) keepBlob(id, blob);
		}
		each.version = (await load(each.id)) ? -1 : 0; // which makes it a copy
		await save(each);
		added++;
	}
	return added;
}

// like is what of a value has the form of an example.
function like(example, value) {
	if (Array.isArray(example)) return Array.isArray(value) ? value.map((each) => like(example[0], each)) : [];
	if (typeof example !== "object") return typeof value === typeof example ? value : example;
	return Object.fromEntries(Object.entries(example).map(([key, inner]) => [key, like(inner, value?.[key])]));
}
