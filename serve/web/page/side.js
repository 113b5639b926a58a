// The side of the page: conversations kept in this browser, and settings.

import * as store from "./store.js";
import { $, button, el, recall, remember, sends } from "./dom.js";

// History is the list of conversations.
export class History {
	#chat;
	#opened;
	#shown;

	// opened is called after a conversation is chosen.
	constructor(chat, opened) {
		this.#chat = chat;
		this.#opened = opened;
		store.onChange(() => this.refresh());
	}

	async refresh() {
		const conversations = await store.list();
		const shown = JSON.stringify([this.#chat.conversation.id, conversations.map(({ id, title }) => [id, title])]);
		if (shown === this.#shown || $("history").querySelector("input")) return;
		this.#shown = shown;
		const focused = document.activeElement.dataset.key;
		$("history").replaceChildren(...conversations.map((conversation) => this.#row(conversation)));
		if (focused) this.#focus(focused);
	}

	#focus(key) {
		document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
	}

	#row({ id, title }) {
		const open = async () => {
			const found = await store.load(id);
			if (found) this.#chat.open(found);
			this.#opened();
		};
		const remove = async () => {
			await this.#chat.remove(id);
			await this.refresh();
			($("history").querySelector("button") ?? $("new")).focus();
		};
		const row = el("li", {},
			el("button", { type: "button", class: "title", dir: "auto", "data-key": id, onclick: open,
				"aria-current": id === this.#chat.conversation.id && "true" }, title),
			button("edit", `Rename ${title}`, () => this.#rename(id, title, row), { "data-key": `${id}-name` }),
			button("trash", `Delete ${title}`, remove, { "data-key": `${id}-gone` }));
		return row;
	}

	#rename(id, title, row) {
		const leave = async (text) => {
			if (!input.isConnected) return;
			row.replaceChildren();
			this.#shown = "";
			if (text) await this.#chat.rename(id, text);
			await this.refresh();
			this.#focus(`${id}-name`);
		};
		const input = el("input", { "aria-label": "Title", maxlength: 200, dir: "auto",
			onblur: () => leave(input.value.trim()),
			onkeydown: (event) => {
				if (event.key === "Escape") leave("");
				else if (sends(event)) leave(input.value.trim());
				else return;
				event.stopPropagation();
			} });
		input.value = title;
		row.replaceChildren(input);
		input.select();
	}
}

const defaults = { temperature: "0.2", top_p: "0.7", max_tokens: "512", seed: "" };

// Settings are the sliders and the seed, kept from one visit to the next. Elements have the settings' names.
export class Settings {
	#values = { ...defaults, ...JSON.parse(recall("localStorage", "settings")) };

	constructor() {
		for (const name of Object.keys(defaults)) {
			$(name).addEventListener("input", () => {
				this.#values[name] = $(name).value;
				this.#show();
			});
		}
		$("reset").addEventListener("click", () => {
			this.#values = { ...defaults };
			this.#show();
		});
		this.#show();
	}

	#show() {
		for (const name of Object.keys(defaults)) {
			const value = this.#values[name];
			if ($(name).value !== value) $(name).value = value;
			if (name === "seed") continue;
			$(`${name}-value`).textContent = name === "max_tokens" && value === "0" ? "as many as fit" : value;
			$(name).setAttribute("aria-valuetext", $(`${name}-value`).textContent);
		}
		const { seed } = this.request();
		$("seed").setAttribute("aria-invalid", this.#values.seed !== "" && seed === undefined);
		remember("localStorage", "settings", JSON.stringify(this.#values));
	}

	// request is the settings as fields of a request. A top-p of 0 means the most likely token, 0 tokens no limit.
	request() {
		const [temperature, top_p, max_tokens, seed] = Object.keys(defaults).map((name) => Number(this.#values[name]));
		return { temperature, top_p: top_p || 1e-6, max_tokens: max_tokens || undefined,
			seed: this.#values.seed && Number.isSafeInteger(seed) ? seed : undefined };
	}
}
