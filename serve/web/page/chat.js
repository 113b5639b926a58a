// The course of a conversation.

import * as api from "./api.js";
import * as store from "./store.js";
import { newID } from "./dom.js";
import { dataURL } from "./pictures.js";

const between = 1000; // ms from one saving to the next while an answer comes

export class Chat {
	conversation = store.newConversation();
	#view;
	#host;
	#running = new Map(); // answers to what aborts them
	#saving = Promise.resolve();
	#savedAt = 0;

	// host has settings() and chosen() for requests, tell(text, undo), busy(whether), changed() and refused(fault).
	constructor(view, host) {
		this.#view = view;
		this.#host = host;
	}

	get busy() {
		return this.#running.size > 0;
	}

	// live says whether an answer is coming in this tab.
	live(answer) {
		return this.#running.has(answer);
	}

	get turns() {
		return this.conversation.turns;
	}

	// open shows a conversation. An answer that is still coming is stopped, and kept where it belongs.
	open(conversation) {
		this.stop();
		this.conversation = conversation;
		this.#view.show(conversation);
		this.#host.changed();
	}

	// before is the turns before one, or all.
	before(id) {
		const place = this.turns.findIndex((turn) => turn.id === id);
		return place < 0 ? [...this.turns] : this.turns.slice(0, place);
	}

	// send asks a question. One that was edited takes the place of its first form and of all after that.
	async send(text, pictures, edited) {
		const kept = this.before(edited);
		if (kept.length < this.turns.length) this.#host.tell("The conversation goes on from here.", this.#snapshot());
		this.conversation.turns = kept;
		for (const { id, blob } of pictures) store.keepBlob(id, blob);
		const turn = { id: newID(), text, answers: [], pictures: pictures.map(({ blob, ...rest }) => rest) };
		this.conversation.title ||= (text.trim() || pictures[0].name).slice(0, 80);
		this.turns.push(turn);
		await this.#ask(turn);
	}

	stop() {
		for (const controller of this.#running.values()) controller.abort();
	}

	regenerate() {
		const turn = this.turns.at(-1);
		this.#host.tell("The last answer is replaced.", this.#snapshot());
		return this.#ask(turn);
	}

	// pictures have their files.
	async pictures(turn) {
		const found = await Promise.all(turn.pictures.map(async (picture) =>
			({ ...picture, blob: await store.blobOf(this.conversation, picture.id) })));
		return found.filter((picture) => picture.blob);
	}

	async clear() {
		if (this.turns.length === 0) return;
		this.stop();
		const undo = this.#snapshot();
		Object.assign(this.conversation, { title: "", turns: [] });
		await this.#changed();
		this.#host.tell("The conversation is cleared.", undo);
	}

	async rename(id, title) {
		const conversation = id === this.conversation.id ? this.conversation : await store.load(id);
		if (conversation) await this.#save(Object.assign(conversation, { title }));
	}

	async remove(id) {
		const current = id === this.conversation.id;
		const conversation = current ? this.conversation : await store.load(id);
		if (!conversation) return;
		if (current) this.open(store.newConversation());
		const { turns } = conversation;
		await store.gather(conversation);
		await this.#save(Object.assign(conversation, { turns: [] }));
		this.#host.tell("The conversation is deleted.", async () => {
			await this.#save(Object.assign(conversation, { turns }));
			this.open(conversation);
		});
	}

	async vote(turn, answer, kind) {
		if (answer.vote) return;
		const column = turn.answers.indexOf(answer);
		const messages = this.turns.slice(0, this.turns.indexOf(turn) + 1).flatMap((each) => [
			{ role: "user", text: each.text, pictures: each.pictures.length },
			{ role: "assistant", text: (each.answers[column] ?? each.answers[0]).text, pictures: 0 },
		]);
		try {
			answer.vote = kind;
			await api.vote(kind, answer.model, answer.id, messages);
		} catch (fault) {
			answer.vote = "";
			this.#host.tell(`The vote was not kept. ${fault.message}`);
		}
		await this.#changed();
	}

	// #snapshot returns what brings back the conversation as it is now.
	#snapshot() {
		const conversation = this.conversation;
		const { title, turns } = structuredClone(conversation);
		for (const answer of turns.flatMap((turn) => turn.answers)) {
			if (/waiting|streaming/.test(answer.state)) answer.state = "stopped";
		}
		return async () => {
			if (this.conversation !== conversation) return;
			this.stop();
			Object.assign(conversation, { title, turns });
			await this.#changed();
		};
	}

	async #changed() {
		this.#view.show(this.conversation);
		await this.#save(this.conversation);
		this.#host.changed();
	}

	// #save waits for the save before it, so that versions follow one another.
	#save(conversation) {
		this.#savedAt = Date.now();
		this.#saving = this.#saving.then(async () => {
			conversation.changed = Date.now();
			if (conversation.turns.length === 0) await store.remove(conversation);
			else if (await store.save(conversation)) {
				this.#host.tell("Another tab has changed this conversation. It goes on here as a copy.");
			}
		}).catch((error) => this.#host.tell(`The conversation could not be kept in this browser. ${error.message}`));
		return this.#saving;
	}

	async #ask(turn) {
		const conversation = this.conversation;
		turn.answers = this.#host.chosen().map(store.newAnswer);
		for (const answer of turn.answers) this.#running.set(answer, new AbortController());
		this.#host.busy(true);
		this.#changed();
		await Promise.all(turn.answers.map((_, column) => this.#stream(conversation, turn, column)));
		await this.#save(conversation);
		this.#host.changed();
	}

	async #stream(conversation, turn, column) {
		const answer = turn.answers[column];
		const { signal } = this.#running.get(answer);
		const times = { began: performance.now(), first: 0, last: 0 };
		try {
			const messages = await this.#messages(conversation, turn, column);
			const request = { model: answer.model, messages, ...this.#host.settings() };
			for await (const event of api.answer(request, signal)) {
				take(answer, event, times);
				this.#view.update(turn);
				if (Date.now() - this.#savedAt > between) this.#save(conversation);
			}
			answer.state = "done";
		} catch (fault) {
			answer.state = signal.aborted ? "stopped" : "fault";
			answer.fault = signal.aborted ? "" : fault.message;
			if (!signal.aborted) this.#host.refused(fault);
		}
		this.#running.delete(answer);
		this.#view.update(turn);
		this.#host.busy(this.busy);
	}

	// #messages is the conversation up to a turn as its column saw it. A question without an answer is asked together
	// with the next one, so that its pictures are not lost.
	async #messages(conversation, turn, column) {
		const messages = [];
		let parts = [];
		for (const each of conversation.turns.slice(0, conversation.turns.indexOf(turn) + 1)) {
			for (const { id, name } of each.pictures) {
				const blob = await store.blobOf(conversation, id);
				if (!blob) throw new api.Fault(`${name} is no longer in this browser. Edit the question, and add it.`);
				parts.push({ type: "image_url", image_url: { url: await dataURL(blob) } });
			}
			if (each.text) parts.push({ type: "text", text: each.text });
			const answer = each.answers[column] ?? each.answers[0];
			if (parts.length === 0 || (each !== turn && !answer?.text && answer?.state !== "done")) continue;
			const plain = parts.length === 1 && parts[0].type === "text";
			messages.push({ role: "user", content: plain ? parts[0].text : parts });
			if (each !== turn) messages.push({ role: "assistant", content: answer.text });
			parts = [];
		}
		return messages;
	}
}

// take adds an event to an answer.
function take(answer, { id, place, choices, usage }, times) {
	if (place !== undefined) answer.place = place;
	answer.id ||= id ?? "";
	const { delta, finish_reason } = choices?.[0] ?? {};
	if (delta?.content) {
		times.last = performance.now();
		times.first ||= times.last;
		answer.state = "streaming";
		answer.text += delta.content;
	}
	if (finish_reason) answer.cut = finish_reason === "length";
	if (!usage) return;
	const { prompt_tokens: prompt = 0, completion_tokens: tokens = 0, prompt_tokens_details: details } = usage;
	const seconds = (times.last - times.first) / 1000;
	answer.stats = { prompt, cached: details?.cached_tokens ?? 0, answer: tokens,
		first: times.first && (times.first - times.began) / 1000, rate: seconds && Math.max(0, tokens - 1) / seconds };
}
