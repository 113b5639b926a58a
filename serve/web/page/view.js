// The conversation on the screen. Elements are kept from one change to the next, so that only what is new is read out,
// and the focus stays where it is.

import { button, copyText, el, number, show } from "./dom.js";
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
		const follow = atEnd();
		const ids = new Set(conversation.turns.map((turn) => turn.id));
		for (const [id, shown] of this.#turns) {
			if (ids.has(id)) continue;
			shown.root.remove();
			this.#turns.delete(id);
		}
		for (const turn of conversation.turns) {
			if (!this.#turns.has(turn.id)) this.#turns.set(turn.id, new TurnView(turn, this, this.#actions));
			const { root } = this.#turns.get(turn.id);
			if (root !== this.#log.lastElementChild) this.#log.append(root);
			this.update(turn);
		}
		if (follow || this.#busy) toEnd();
	}

	// #switch forgets what is shown. An old conversation is not read out.
	#switch(conversation) {
		this.#conversation = conversation;
		this.#log.setAttribute("aria-live", "off");
		setTimeout(() => this.#log.removeAttribute("aria-live"), 500);
		this.#log.replaceChildren();
		this.#turns.clear();
	}

	// update brings a turn's answers up to date.
	update(turn) {
		this.#turns.get(turn.id)?.update(turn);
		this.#log.setAttribute("aria-busy", this.#busy);
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

const atEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 100;
const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

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
	#rest = 30; // ms to leave between two writings, so that long answers do not block the page

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
		const follow = atEnd();
		if (!busy) this.#write();
		this.root.setAttribute("aria-busy", busy);
		this.root.classList.toggle("wordless", !answer.text);
		this.#note.textContent = note(answer, busy);
		for (const [i, button] of this.#votes.entries()) {
			button.setAttribute("aria-pressed", answer.vote === votes[i][0]);
			button.setAttribute("aria-disabled", Boolean(answer.vote));
		}
		if (answer.state === "fault" && !this.#fault) {
			this.#fault = el("p", { class: "fault", role: this.fresh && "alert", dir: "auto" }, answer.fault);
			this.#note.before(this.#fault);
		}
		if (follow) toEnd();
	}

	#write() {
		clearTimeout(this.#timer);
		this.#timer = 0;
		if (this.#written === this.answer.text) return;
		const began = performance.now();
		const follow = atEnd();
		this.#written = this.answer.text;
		this.#writer.write(this.#written);
		if (follow) toEnd(); // which lays the page out, so that its time is counted
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
