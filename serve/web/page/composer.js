// The box at the end of the page: a message, its pictures, and Send or Stop.

import { el, iconButton } from "./dom.js";
import { take } from "./pictures.js";
import { sends } from "./view.js";

const $ = (id) => document.getElementById(id);

export class Composer {
	#host;
	#pictures = []; // as take makes them
	#taking = Promise.resolve();
	#urls = new Map();

	// host has send(text, pictures), which returns why it does not, stop(), editLast(), and limits(): the most pictures
	// of a conversation and how many it holds.
	constructor(host) {
		this.#host = host;
		const box = $("message");
		box.addEventListener("keydown", (event) => {
			if (sends(event)) this.#send();
			else if (event.key !== "ArrowUp" || box.value || event.isComposing || !this.#host.editLast()) return;
			event.preventDefault();
		});
		box.addEventListener("input", () => this.#grow());
		$("composer").addEventListener("submit", (event) => {
			event.preventDefault();
			this.#send();
		});
		$("stop").addEventListener("click", () => {
			host.stop();
			this.focus();
		});
		$("add").addEventListener("click", () => $("files").click());
		$("files").addEventListener("change", () => {
			this.add([...$("files").files]);
			$("files").value = "";
		});
		this.#watchDrops();
		document.addEventListener("paste", (event) => {
			const data = event.clipboardData;
			if (!data?.files.length || data.types.includes("text/plain")) return;
			event.preventDefault();
			this.add([...data.files]);
		});
	}

	#watchDrops() {
		const holds = (event) => event.dataTransfer?.types.includes("Files");
		const over = (whether) => document.body.classList.toggle("dropping", whether);
		addEventListener("dragover", (event) => {
			if (!holds(event)) return;
			event.preventDefault();
			over(true);
		});
		addEventListener("dragleave", (event) => {
			if (!event.relatedTarget) over(false);
		});
		addEventListener("drop", (event) => {
			over(false);
			if (!holds(event)) return;
			event.preventDefault();
			this.add([...event.dataTransfer.files]);
		});
	}

	// add takes files, one after the other.
	add(files) {
		this.#say("");
		this.#taking = this.#taking.then(async () => {
			for (const file of files) {
				const { most, held } = this.#host.limits();
				if (held + this.#pictures.length >= most) {
					this.#say(`A conversation holds ${most} pictures at most. Remove one, or begin a new conversation.`);
					break;
				}
				try {
					this.#pictures.push(await take(file));
				} catch (error) {
					this.#say(error.message);
				}
				this.#show();
			}
		});
		return this.#taking;
	}

	// fill puts a question into the box, with its pictures if they are given.
	fill(text, pictures) {
		$("message").value = text;
		if (pictures) this.#pictures = pictures;
		this.#show();
		this.#grow();
		this.focus();
	}

	focus() {
		$("message").focus();
	}

	busy(whether) {
		$("send").hidden = whether;
		$("stop").hidden = !whether;
		if (!whether && document.activeElement === document.body) this.focus();
	}

	async #send() {
		await this.#taking;
		const text = $("message").value;
		if (!text.trim() && this.#pictures.length === 0) return;
		const refusal = this.#host.send(text, this.#pictures);
		this.#say(refusal);
		if (refusal) return;
		this.fill("", []);
	}

	#say(text) {
		$("refusal").textContent = text;
	}

	#grow() {
		const box = $("message");
		box.style.height = "auto";
		box.style.height = `${box.scrollHeight + 2}px`;
	}

	#show() {
		for (const [id, url] of this.#urls) {
			if (this.#pictures.some((picture) => picture.id === id)) continue;
			URL.revokeObjectURL(url);
			this.#urls.delete(id);
		}
		$("previews").replaceChildren(...this.#pictures.map((picture) => {
			const { id, name, note } = picture;
			if (!this.#urls.has(id)) this.#urls.set(id, URL.createObjectURL(picture.blob));
			const remove = () => {
				this.#pictures = this.#pictures.filter((other) => other !== picture);
				this.#show();
				this.focus();
			};
			return el("li", {}, el("img", { src: this.#urls.get(id), alt: name }),
				el("span", { class: "what" }, el("bdi", { class: "name" }, name), note && el("span", {}, note)),
				iconButton("close", "Remove picture", remove, { "aria-description": name }));
		}));
	}
}
