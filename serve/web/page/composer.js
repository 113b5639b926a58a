// The box at the end of the page: a message, its pictures, and Send or Stop.

import { $, button, el, following, sends, show } from "./dom.js";
import { take } from "./pictures.js";

export class Composer {
	#host;
	#pictures = []; // as take makes them
	#taking = Promise.resolve();
	#edited = ""; // the id of the turn whose question is in the box

	// host has send(text, pictures, edited), which returns why it does not, stop(), editLast(), which returns whether
	// it can, and room(edited), how many pictures a question can have.
	constructor(host) {
		this.#host = host;
		const box = $("message");
		box.addEventListener("keydown", (event) => {
			if (sends(event)) this.#send();
			else if (event.key === "Escape" && this.#edited) this.fill("", []);
			else if (event.key !== "ArrowUp" || box.value || event.isComposing || !this.#host.editLast()) return;
			event.preventDefault();
		});
		box.addEventListener("input", () => following(() => this.#grow()));
		$("composer").addEventListener("submit", (event) => {
			event.preventDefault();
			this.#send();
		});
		$("stop").addEventListener("click", () => {
			host.stop();
			this.focus();
		});
		$("leave-edit").addEventListener("click", () => this.fill("", []));
		$("add").addEventListener("click", () => $("files").click());
		$("files").addEventListener("change", () => {
			this.add([...$("files").files]);
			$("files").value = "";
		});
		const watch = (name, data, take) => addEventListener(name, (event) => {
			const files = event[data].types.includes("Files");
			document.body.classList.toggle("dropping", files && name === "dragover");
			if (!files || !take) return;
			event.preventDefault();
			take([...event[data].files]);
		});
		const add = (files) => this.add(files);
		watch("dragover", "dataTransfer", () => {});
		watch("dragleave", "dataTransfer");
		watch("drop", "dataTransfer", add);
		// Some programs copy text as a picture, too.
		addEventListener("paste", (event) => {
			if (event.clipboardData.types.includes("text/plain")) event.stopImmediatePropagation();
		});
		watch("paste", "clipboardData", add);
	}

	add(files) {
		this.#say("");
		this.#taking = this.#taking.then(async () => {
			for (const file of files) {
				try {
					if (this.#pictures.length >= this.#host.room(this.#edited)) {
						throw new Error("The conversation is full of pictures. Remove one, or begin a new one.");
					}
					this.#pictures.push(await take(file));
				} catch (error) {
					this.#say(error.message);
				}
				this.#show();
			}
		});
		return this.#taking;
	}

	// fill puts a question into the box, with its pictures if they are given, and the id of its turn if it is edited.
	fill(text, pictures, edited = "") {
		following(() => {
			$("message").value = text;
			if (pictures) this.#pictures = pictures;
			this.#edited = edited;
			$("editing").hidden = !edited;
			this.#show();
			this.#grow();
		});
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
		const refusal = this.#host.send(text, this.#pictures, this.#edited);
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
		$("previews").replaceChildren(...this.#pictures.map((picture) => {
			const { name, note, blob } = picture;
			const remove = () => {
				this.#pictures = this.#pictures.filter((other) => other !== picture);
				this.#show();
				this.focus();
			};
			return el("li", {}, show(el("img", { alt: name }), blob),
				el("span", { class: "what" }, el("bdi", {}, name), note),
				button("close", "Remove picture", remove, { "aria-description": name }));
		}));
	}
}
