// The conversation on the screen. Elements are kept from one change to the next, so that only what is new is read out,
// and the focus stays where it is.

import { button, copyText, el, following, number, show } from "./dom.js";
import { Writer } from "./markdown.js";
import * as store from "./store.js";

export class View {
	#log;
	#actions;
	#conversation;
	#turns = new Map(); // by id

	// actions has live(answer), regenerate(), edit(turn), vote(turn, answer, kind), tell(text).
	constructor(log, actions) {
		this.#log = log;
		this.#actions = actions;
		log.addEventListener("click", ({ target }) => {
			if (target.matches(".code button")) this.copy(target.closest(".code").querySelector("code").textContent);
		});
	}

	// show brings the screen to a conversation's turns.
	show(conversation) {
		if (conversation !== this.#conversation) this.#switch(conversation);
		for (const [id, { root }] of this.#turns) {
			if (conversation.turns.some((turn) => turn.id === id)) continue;
			root.remove();
			this.#turns.delete(id);
		}
		for (const [i, turn] of conversation.turns.entries()) {
			if (!this.#turns.has(turn.id)) this.#turns.set(turn.id, new TurnView(turn, this, this.#actions));
			const { root } = this.#turns.get(turn.id);
			const there = this.#log.children[i];
			if (there !== root) this.#log.insertBefore(root, there ?? null);
			this.update(turn);
		}
		if (this.#busy) scrollTo(0, document.documentElement.scrollHeight);
	}

	// #switch forgets what is shown. An old conversation is not read out.
	#switch(conversation) {
		this.#conversation = conversation;
		this.#log.ariaLive = "off";
		setTimeout(() => (this.#log.ariaLive = null), 500);
		this.#log.replaceChildren();
		this.#turns.clear();
	}

	update(turn) {
		following(() => this.#turns.get(turn.id)?.update(turn));
		this.#log.ariaBusy = this.#busy;
	}

	get #busy() {
		return this.#conversation.turns.some((turn) => turn.answers.some(this.#actions.live));
	}

	copy(text) {
		this.#actions.tell(copyText(text) ? "Copied." : "The browser does not allow copying here.");
	}

	// image shows a picture of the conversation by its file's name.
	image({ id, name, width, height }) {
		const image = el("img", { alt: name, title: name, width, height });
		store.blobOf(this.#conversation, id).then((blob) => blob && show(image, blob));
		return image;
	}
}

// TurnView is a question with its answers.
class TurnView {
	#actions;
	#answers = el("div", { class: "answers" });
	#views = [];

	constructor(turn, view, actions) {
		this.#actions = actions;
		this.view = view;
		this.root = el("div", { class: "turn" },
			el("article", { class: "question", "aria-label": "Your question" },
				el("h2", { class: "hidden-name" }, "You"),
				el("div", { class: "bubble" },
					el("div", { class: "pictures" }, turn.pictures.map((picture) => view.image(picture))),
					turn.text && el("p", { class: "asked", dir: "auto" }, turn.text)),
				el("div", { class: "actions" }, button("edit", "Edit", () => actions.edit(turn)))),
			this.#answers);
	}

	update(turn) {
		const same = (answer, i) => this.#views[i]?.answer === answer;
		if (this.#views.length !== turn.answers.length || !turn.answers.every(same)) this.#build(turn);
		for (const shown of this.#views) shown.update();
		this.root.classList.toggle("busy", turn.answers.some(this.#actions.live));
	}

	#build(turn) {
		this.#views = turn.answers.map((answer) => new AnswerView(turn, answer, this.view, this.#actions));
		const again = button("again", "Regenerate", () => this.#actions.regenerate(), { class: "quiet last" });
		this.#answers.replaceChildren(...this.#views.map((shown) => shown.root));
		this.#answers.classList.toggle("two", this.#views.length > 1);
		if (this.#views.length === 1) this.#views[0].actions.append(again);
		else this.#answers.append(el("div", { class: "actions both" }, again));
	}
}

const votes = [["upvote", "up", "Upvote"], ["downvote", "down", "Downvote"], ["flag", "flag", "Flag"]];

class AnswerView {
	#text = el("div", { class: "text" });
	#writer = new Writer(this.#text);
	#note = el("p", { class: "note" });
	#votes;
	#fault = null;
	#actions;
	#state = "";
	#written = "";
	#timer = 0;
	#rest = 30; // ms from one writing to the next, so that long answers do not block the page

	constructor(turn, answer, view, actions) {
		this.answer = answer;
		this.#actions = actions;
		this.#votes = votes.map(([kind, shape, name]) => button(shape, name, () => actions.vote(turn, answer, kind)));
		this.actions = el("div", { class: "actions" }, button("copy", "Copy", () => view.copy(answer.text)),
			el("span", { class: "last" }, this.#votes));
		this.root = el("article", { class: "answer", "aria-label": `Answer of ${answer.model}` },
			el("h2", { class: "model" }, el("bdi", {}, answer.model)), this.#text, this.#note, this.actions);
		this.fresh = actions.live(answer);
	}

	update() {
		const { answer } = this;
		const busy = this.#actions.live(answer);
		if (busy && answer.state === "streaming") this.#timer ||= setTimeout(() => this.#write(), this.#rest);
		if (busy && this.#state === answer.state + answer.place) return; // there is only more text
		this.#state = answer.state + answer.place;
		if (!busy) this.#write();
		this.root.ariaBusy = busy;
		this.root.classList.toggle("wordless", !answer.text);
		this.#note.textContent = note(answer, busy);
		for (const [i, button] of this.#votes.entries()) {
			button.ariaPressed = answer.vote === votes[i][0];
			button.ariaDisabled = answer.vote !== "";
		}
		if (answer.state === "fault" && !this.#fault) {
			this.#fault = el("p", { class: "fault", role: this.fresh && "alert", dir: "auto" }, answer.fault);
			this.#note.before(this.#fault);
		}
	}

	#write() {
		clearTimeout(this.#timer);
		this.#timer = 0;
		if (this.#written === this.answer.text) return;
		const began = performance.now();
		this.#written = this.answer.text;
		following(() => this.#writer.write(this.#written)); // and its layout
		this.#rest = Math.max(30, 4 * (performance.now() - began));
	}
}

// note is the line under an answer.
function note(answer, busy) {
	const { state, place, cut, stats: { first, rate, prompt, cached, answer: tokens } } = answer;
	return (busy ? [
		state === "waiting" && (place ? `Number ${place} in the queue` : "Waiting for the first word"),
	] : [
		state === "stopped" && "Stopped",
		/waiting|streaming/.test(state) && "Not finished: the page was closed, or another tab is still at it",
		cut && "Ended at the most output tokens",
		first && `${number(first)} s to the first token`,
		rate && `${number(rate)} tokens/s`,
		prompt && `${number(prompt)} prompt tokens`,
		cached && `${number(cached)} of them cached`,
		tokens && `${number(tokens)} answer tokens`,
	]).filter(Boolean).join(" · ");
}
