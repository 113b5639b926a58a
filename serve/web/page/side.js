// The side of the page: conversations kept in this browser, and settings.

import * as store from "./store.js";
import { el, iconButton } from "./dom.js";

// History is the list of conversations.
export class History {
	#list;
	#host;

	// host has current(), open(id), changed(conversation) after a new title, removed(conversation), and tell(text, undo).
	constructor(list, host) {
		this.#list = list;
		this.#host = host;
		store.onChange(() => this.refresh());
	}

	async refresh() {
		const conversations = await store.list();
		const focused = this.#list.contains(document.activeElement) && document.activeElement.dataset.key;
		if (this.#list.querySelector("input")) return; // a title is being written
		this.#list.replaceChildren(...conversations.map((conversation) => this.#row(conversation)));
		if (focused) this.#list.querySelector(`[data-key="${focused}"]`)?.focus();
	}

	#row(conversation) {
		const { id, title } = conversation;
		const current = id === this.#host.current();
		const open = el("button", { type: "button", class: "title", dir: "auto", "data-key": id,
			"aria-current": current && "true", onclick: () => this.#host.open(id) }, title || "Untitled");
		const row = el("li", {}, open,
			iconButton("edit", `Rename ${title}`, () => this.#rename(conversation, row), { "data-key": `${id}-name` }),
			iconButton("trash", `Delete ${title}`, () => this.#remove(conversation), { "data-key": `${id}-gone` }));
		return row;
	}

	#rename(conversation, row) {
		let open = true;
		const leave = async (keep) => {
			if (!open) return;
			open = false;
			const title = input.value.trim().slice(0, 200);
			input.remove();
			if (keep && title) {
				const fresh = (await store.load(conversation.id)) ?? conversation;
				fresh.title = title;
				await store.save(fresh);
				this.#host.changed(fresh);
			}
			await this.refresh();
			this.#list.querySelector(`[data-key="${conversation.id}"]`)?.focus();
		};
		const input = el("input", { "aria-label": "Title", maxlength: 200, dir: "auto", onblur: () => leave(true),
			onkeydown: (event) => {
				if (event.key === "Escape") leave(false);
				else if (event.key === "Enter" && !event.isComposing) leave(true);
				else return;
				event.preventDefault();
				event.stopPropagation();
			} });
		input.value = conversation.title;
		row.replaceChildren(input);
		input.select();
	}

	async #remove({ id }) {
		const conversation = await store.load(id);
		if (!conversation) return this.refresh();
		await store.remove(conversation);
		this.#host.removed(conversation);
		await this.refresh();
		(this.#list.querySelector("button") ?? document.getElementById("new")).focus();
		this.#host.tell("The conversation is deleted.", async () => {
			await store.save(conversation);
			await this.refresh();
			this.#host.open(id);
		});
	}
}

const key = "llavatrain.settings";
const defaults = { temperature: 0.2, top_p: 0.7, max_tokens: 512, seed: "" };
const sliders = { temperature: "temperature", top_p: "top-p", max_tokens: "max-tokens" }; // elements' ids

// Settings are the sliders and the seed, kept from one visit to the next.
export class Settings {
	#values = { ...defaults };

	constructor() {
		try {
			Object.assign(this.#values, JSON.parse(localStorage.getItem(key) ?? "{}"));
		} catch { /* a browser that keeps nothing begins with the defaults */ }
		for (const [name, id] of Object.entries(sliders)) {
			const slider = document.getElementById(id);
			slider.addEventListener("input", () => this.#set(name, Number(slider.value)));
		}
		const seed = document.getElementById("seed");
		seed.addEventListener("input", () => this.#set("seed", seed.value.trim()));
		document.getElementById("reset").addEventListener("click", () => {
			this.#values = { ...defaults };
			this.#show();
		});
		this.#show();
	}

	#set(name, value) {
		this.#values[name] = value;
		this.#show();
	}

	#show() {
		for (const [name, id] of Object.entries(sliders)) {
			const slider = document.getElementById(id);
			slider.value = this.#values[name];
			const text = name === "max_tokens" && this.#values[name] === 0 ? "as many as fit" : slider.value;
			slider.setAttribute("aria-valuetext", text);
			document.getElementById(`${id}-value`).textContent = text;
		}
		const seed = document.getElementById("seed");
		if (seed.value.trim() !== this.#values.seed) seed.value = this.#values.seed;
		seed.setAttribute("aria-invalid", this.#values.seed !== "" && !this.#wholeSeed());
		try {
			localStorage.setItem(key, JSON.stringify(this.#values));
		} catch { /* as above */ }
	}

	#wholeSeed() {
		return /^-?\d+$/.test(this.#values.seed) && Number.isSafeInteger(Number(this.#values.seed));
	}

	// request is the settings as fields of a request. A top-p of nothing means the most likely token.
	request() {
		const { temperature, top_p, max_tokens, seed } = this.#values;
		return { temperature, top_p: top_p || 1e-6, max_tokens: max_tokens || undefined,
			seed: this.#wholeSeed() ? Number(seed) : undefined };
	}
}
