// The conversation on the screen. Elements are kept from one change to the next, so that what is read out is only what
// is new, and the focus stays where it is.

import { copyText, el, icon, iconButton, number } from "./dom.js";
import { Writer } from "./markdown.js";
import * as store from "./store.js";

export class View {
	#log;
	#actions;
	#conversation;
	#turns = new Map(); // by id
	#urls = new Map(); // of pictures, by id

	// actions has live(answer), regenerate(), edit(turn, text), takeBack(), vote(turn, answer, kind), tell(text).
	constructor(log, actions) {
		this.#log = log;
		this.#actions = actions;
		log.addEventListener("click", async (event) => {
			const button = event.target.closest("[data-copies]");
			if (button) this.copy(button.closest(".code").querySelector("code").textContent);
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
		if (follow || conversation.turns.some((turn) => turn.answers.some(this.#actions.live))) toEnd();
	}

	// #switch forgets what is shown. An old conversation is not read out.
	#switch(conversation) {
		this.#conversation = conversation;
		this.#log.setAttribute("aria-live", "off");
		setTimeout(() => this.#log.removeAttribute("aria-live"), 500);
		this.#log.replaceChildren();
		this.#turns.clear();
		for (const url of this.#urls.values()) URL.revokeObjectURL(url);
		this.#urls.clear();
	}

	// update brings a turn's answers up to date.
	update(turn) {
		this.#turns.get(turn.id)?.update(turn);
		const busy = [...this.#turns.values()].some((shown) => shown.busy);
		if (busy) this.#log.setAttribute("aria-busy", "true");
		else this.#log.removeAttribute("aria-busy");
	}

	// editLast opens the last question for editing; false if there is none.
	editLast() {
		const last = [...this.#turns.values()].at(-1);
		last?.edit();
		return Boolean(last);
	}

	async copy(text) {
		this.#actions.tell(await copyText(text) ? "Copied." : "The browser does not allow copying here.");
	}

	// image shows a picture of the conversation by its file's name.
	image({ id, name, width, height }) {
		const image = el("img", { alt: name, title: name, width: width || null, height: height || null });
		store.picture(this.#conversation, id).then((blob) => {
			if (!blob) return;
			if (!this.#urls.has(id)) this.#urls.set(id, URL.createObjectURL(blob));
			image.src = this.#urls.get(id);
		}).catch(() => {});
		return image;
	}
}

const atEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 100;
const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

// TurnView is a question with its answers.
class TurnView {
	#turn;
	#actions;
	#question;
	#editor = null;
	#answers = el("div", { class: "answers" });
	#views = [];

	constructor(turn, view, actions) {
		this.#turn = turn;
		this.#actions = actions;
		this.view = view;
		this.#question = el("div", { class: "bubble" },
			turn.pictures.length > 0 && el("div", { class: "pictures" }, ...turn.pictures.map((p) => view.image(p))),
			turn.text && el("p", { class: "asked", dir: "auto" }, turn.text));
		this.root = el("div", { class: "turn" },
			el("article", { class: "question", "aria-label": "Your question" },
				el("h2", { class: "hidden-name" }, "You"), this.#question,
				el("div", { class: "actions" }, iconButton("edit", "Edit", () => this.edit()))),
			this.#answers);
	}

	get busy() {
		return this.#views.some((shown) => shown.busy);
	}

	update(turn) {
		this.#turn = turn;
		if (turn.answers.some((answer, i) => this.#views[i]?.answer !== answer) || turn.answers.length !== this.#views.length) {
			this.#build(turn);
		}
		for (const shown of this.#views) shown.update();
		this.root.classList.toggle("busy", this.busy);
	}

	#build(turn) {
		this.#views = turn.answers.map((answer) => new AnswerView(turn, answer, this.view, this.#actions));
		const own = [
			el("button", { type: "button", class: "quiet last", onclick: () => this.#actions.regenerate() },
				icon("again"), "Regenerate"),
			el("button", { type: "button", class: "quiet last", title: "Put the question back into the box",
				onclick: () => this.#actions.takeBack() }, icon("back"), "Take back"),
		];
		this.#answers.replaceChildren(...this.#views.map((shown) => shown.root));
		this.#answers.classList.toggle("two", this.#views.length > 1);
		if (this.#views.length === 1) this.#views[0].actions.append(...own);
		else this.#answers.append(el("div", { class: "actions both" }, ...own));
	}

	edit() {
		if (this.busy || this.#editor) return;
		const area = el("textarea", { "aria-label": "Edit question", dir: "auto", rows: 3, onkeydown: (event) => {
			if (event.key === "Escape") this.#leave();
			else if (sends(event)) ask();
			else return;
			event.preventDefault();
			event.stopPropagation();
		} });
		area.value = this.#turn.text;
		const ask = () => {
			const text = area.value;
			if (!text.trim() && this.#turn.pictures.length === 0) return;
			this.#leave();
			this.#actions.edit(this.#turn, text);
		};
		this.#editor = el("div", { class: "editor" }, area, el("div", { class: "row" },
			el("button", { type: "button", onclick: () => this.#leave() }, "Cancel"),
			el("button", { type: "button", class: "main", onclick: ask }, "Ask again")));
		this.#question.after(this.#editor);
		this.root.classList.add("editing");
		area.focus();
		area.setSelectionRange(area.value.length, area.value.length);
	}

	#leave() {
		this.#editor.remove();
		this.#editor = null;
		this.root.classList.remove("editing");
		document.getElementById("message").focus();
	}
}

// sends says whether a key press means "send". While an input method composes a word, Enter only ends the word.
export function sends(event) {
	return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

const votes = { upvote: ["up", "Upvote"], downvote: ["down", "Downvote"], flag: ["flag", "Flag"] };

class AnswerView {
	#text = el("div", { class: "text" });
	#writer = new Writer(this.#text);
	#note = el("p", { class: "note" });
	#votes = {};
	#fault = null;
	#actions;
	#written = "";
	#timer = 0;
	#rest = 30; // ms to leave between two writings, so that long answers do not block the page

	constructor(turn, answer, view, actions) {
		this.answer = answer;
		this.#actions = actions;
		for (const [kind, [shape, name]] of Object.entries(votes)) {
			this.#votes[kind] = iconButton(shape, name, () => actions.vote(turn, answer, kind), { class: "icon last" });
		}
		this.actions = el("div", { class: "actions" }, iconButton("copy", "Copy", () => view.copy(answer.text)),
			...Object.values(this.#votes));
		this.root = el("article", { class: "answer", "aria-label": `Answer of ${answer.model}` },
			el("h2", { class: "model" }, el("bdi", {}, answer.model)), this.#text, this.#note, this.actions);
		this.fresh = actions.live(answer);
	}

	get busy() {
		return this.#actions.live(this.answer);
	}

	update() {
		const { answer, busy } = this;
		if (busy) {
			this.#timer ||= setTimeout(() => this.#write(), this.#rest);
			this.root.setAttribute("aria-busy", "true");
		} else {
			this.#write();
			this.root.removeAttribute("aria-busy");
		}
		this.root.classList.toggle("wordless", !answer.text);
		this.#note.textContent = note(answer, busy);
		for (const [kind, button] of Object.entries(this.#votes)) {
			button.setAttribute("aria-pressed", answer.vote === kind);
			if (answer.vote) button.setAttribute("aria-disabled", "true");
			else button.removeAttribute("aria-disabled");
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
		const follow = atEnd();
		this.#written = this.answer.text;
		this.#writer.write(this.#written);
		if (follow) toEnd(); // which lays the page out, so that its time is counted
		this.#rest = Math.max(30, 4 * (performance.now() - began));
	}
}

// note is the line under an answer.
function note(answer, busy) {
	if (busy && answer.state === "waiting") {
		return answer.place > 0 ? `Number ${answer.place} in the queue` : "Waiting for the first word";
	}
	if (busy) return "";
	const said = [];
	if (answer.state === "stopped") said.push("Stopped");
	if (answer.state === "waiting" || answer.state === "streaming") {
		said.push("Not finished: the page was closed, or another tab is still at it");
	}
	if (answer.cut) said.push("Ended at the most output tokens");
	const { first, rate, prompt, cached, answer: tokens } = answer.stats ?? {};
	if (first) said.push(`${number(first)} s to the first token`);
	if (rate) said.push(`${number(rate)} tokens/s`);
	if (prompt) said.push(`${number(prompt)} prompt tokens${cached ? `, ${number(cached)} cached` : ""}`);
	if (tokens) said.push(`${number(tokens)} answer token${tokens === 1 ? "" : "s"}`);
	return said.join(" · ");
}
