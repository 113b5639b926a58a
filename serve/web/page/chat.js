// The course of a conversation: questions, answers that stream in, and what can be done about them.

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

	// host has settings() for requests, chosen() for the models to ask, tell(text, undo), busy(whether), changed(), and
	// refused(fault).
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

	// send asks a question, with pictures as take makes them.
	async send(text, pictures) {
		for (const { id, blob } of pictures) store.keepBlob(id, blob);
		const turn = { id: newID(), text, answers: [],
			pictures: pictures.map(({ id, name, width, height, note }) => ({ id, name, width, height, note })) };
		if (!this.conversation.title) this.conversation.title = (text.trim() || pictures[0]?.name || "").slice(0, 80);
		this.turns.push(turn);
		await this.#ask(turn);
	}

	stop() {
		for (const controller of this.#running.values()) controller.abort();
	}

	async regenerate() {
		const turn = this.turns.at(-1);
		if (!turn || this.busy) return;
		const undo = this.#snapshot();
		const had = turn.answers.some((answer) => answer.text);
		turn.answers = [];
		if (had) this.#host.tell("The answer is being replaced.", undo);
		await this.#ask(turn);
	}

	// edit changes a question and asks it again; what came after it is dropped.
	async edit(turn, text) {
		const place = this.turns.indexOf(turn);
		if (place < 0 || this.busy) return;
		const undo = this.#snapshot();
		this.turns.length = place + 1;
		this.turns[place] = { ...turn, id: newID(), text, answers: [] };
		this.#host.tell("The conversation goes on from the edited question.", undo);
		await this.#ask(this.turns[place]);
	}

	// takeBack removes the last question with its answer, and returns it with its pictures' files.
	async takeBack() {
		if (this.busy) return null;
		const undo = this.#snapshot();
		const turn = this.turns.pop();
		if (!turn) return null;
		const pictures = await Promise.all(turn.pictures.map(async (picture) =>
			({ ...picture, blob: await store.picture(this.conversation, picture.id) })));
		await this.#changed();
		this.#host.tell("The last question is back in the box.", undo);
		return { text: turn.text, pictures: pictures.filter((picture) => picture.blob) };
	}

	async clear() {
		if (this.turns.length === 0) return;
		this.stop();
		const undo = this.#snapshot();
		this.conversation.turns = [];
		this.conversation.title = "";
		await this.#changed();
		this.#host.tell("The conversation is cleared.", undo);
	}

	// vote records an opinion of an answer, once.
	async vote(turn, answer, kind) {
		if (answer.vote) return;
		answer.vote = kind;
		this.#view.update(turn);
		const column = turn.answers.indexOf(answer);
		const messages = this.turns.slice(0, this.turns.indexOf(turn) + 1).flatMap((each) => [
			{ role: "user", text: each.text, pictures: each.pictures.length },
			{ role: "assistant", text: (each.answers[column] ?? each.answers[0])?.text ?? "", pictures: 0 },
		]);
		try {
			await api.vote(kind, answer.model, answer.id, messages);
			await this.#changed();
		} catch (fault) {
			answer.vote = "";
			this.#view.update(turn);
			this.#host.tell(`The vote was not kept. ${fault.message}`);
		}
	}

	// #snapshot returns what brings back the conversation as it is now.
	#snapshot() {
		const conversation = this.conversation;
		const { title, turns } = structuredClone({ title: conversation.title, turns: conversation.turns });
		for (const answer of turns.flatMap((turn) => turn.answers)) {
			if (answer.state === "waiting" || answer.state === "streaming") answer.state = "stopped";
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
		conversation.changed = this.#savedAt = Date.now();
		this.#saving = this.#saving.then(async () => {
			if (conversation.turns.length === 0) await store.remove(conversation);
			else if (await store.save(conversation) === "copied") {
				this.#host.tell("Another tab has changed this conversation. It goes on here as a copy.");
			}
		}).catch((error) => this.#host.tell(`The conversation could not be kept in this browser. ${error.message}`));
		return this.#saving;
	}

	async #ask(turn) {
		const conversation = this.conversation;
		turn.answers = this.#host.chosen().map((model) => ({ model, text: "", state: "waiting", place: 0, fault: "",
			id: "", vote: "" }));
		conversation.compare = turn.answers.length > 1;
		const controllers = turn.answers.map((answer) => {
			const controller = new AbortController();
			this.#running.set(answer, controller);
			return controller;
		});
		this.#host.busy(true);
		this.#view.show(conversation);
		this.#save(conversation).then(() => this.#host.changed());
		await Promise.all(turn.answers.map((answer, column) =>
			this.#stream(conversation, turn, column, controllers[column].signal)));
		await this.#save(conversation);
		this.#host.changed();
	}

	async #stream(conversation, turn, column, signal) {
		const answer = turn.answers[column];
		const began = performance.now();
		try {
			const messages = await this.#messages(conversation, turn, column);
			const request = { model: answer.model, messages, ...this.#host.settings() };
			const times = { began, first: 0, last: 0 };
			for await (const event of api.answer(request, signal)) {
				this.#take(answer, event, times);
				this.#view.update(turn);
				if (Date.now() - this.#savedAt > between) this.#save(conversation);
			}
			answer.state = "done";
		} catch (fault) {
			answer.state = signal.aborted ? "stopped" : "fault";
			if (!signal.aborted) answer.fault = fault.message;
			if (!signal.aborted) this.#host.refused(fault);
		}
		this.#running.delete(answer);
		this.#view.update(turn);
		if (!this.busy) this.#host.busy(false);
	}

	// #take adds an event to an answer.
	#take(answer, event, times) {
		if (event.place !== undefined) {
			answer.place = event.place;
			return;
		}
		answer.id ||= event.id ?? "";
		const choice = event.choices?.[0];
		if (choice?.delta?.content) {
			times.last = performance.now();
			times.first ||= times.last;
			answer.state = "streaming";
			answer.text += choice.delta.content;
		}
		if (choice?.finish_reason) answer.cut = choice.finish_reason === "length";
		const usage = event.usage;
		if (!usage) return;
		const seconds = (times.last - times.first) / 1000;
		answer.stats = {
			first: times.first ? (times.first - times.began) / 1000 : 0,
			rate: seconds > 0 && usage.completion_tokens > 1 ? (usage.completion_tokens - 1) / seconds : 0,
			prompt: usage.prompt_tokens ?? 0,
			cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
			answer: usage.completion_tokens ?? 0,
		};
	}

	// #messages is the conversation up to a turn as its column saw it. A question that got no answer is asked together
	// with the next one, so that its pictures are not lost.
	async #messages(conversation, turn, column) {
		const messages = [];
		let parts = [];
		for (const each of conversation.turns.slice(0, conversation.turns.indexOf(turn) + 1)) {
			for (const { id, name } of each.pictures) {
				const blob = await store.picture(conversation, id);
				if (!blob) throw new api.Fault(`${name} is no longer in this browser. Take the question back and add it again.`);
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
