// The models to ask: one, or two side by side.

import * as api from "./api.js";
import { $, el, number } from "./dom.js";

export const none = "No model is served. Start a worker, then reload the models.";

export class Models {
	server = { models: [], pictures: 8, votes: false };
	#refused;

	constructor(refused) {
		this.#refused = refused;
		$("reload").addEventListener("click", () => this.load());
		$("model").addEventListener("change", () => this.#show());
		$("second").addEventListener("change", () => this.#show());
		$("compare").addEventListener("click", () => {
			$("compare").setAttribute("aria-pressed", !this.#comparing);
			const other = this.server.models.find(({ id }) => id !== $("model").value);
			if (this.#comparing && other && $("second").value === $("model").value) $("second").value = other.id;
			this.#show();
		});
	}

	get #comparing() {
		return $("compare").getAttribute("aria-pressed") === "true";
	}

	// load keeps what is chosen if it is still there.
	async load() {
		const had = [$("model").value, $("second").value];
		$("models-fault").replaceChildren();
		try {
			this.server = await api.models(new URLSearchParams(location.search).get("model"));
		} catch (fault) {
			$("models-fault").append(fault.message);
			this.#refused(fault);
			return;
		}
		const { models, selected, embed } = this.server;
		document.body.classList.toggle("embedded", embed);
		for (const [i, id] of ["model", "second"].entries()) {
			$(id).replaceChildren(...models.map((model) => el("option", { value: model.id }, model.id)));
			const kept = models.some((model) => model.id === had[i]);
			$(id).value = kept ? had[i] : selected;
		}
		if (models.length === 0) $("models-fault").append(none);
		this.#show();
	}

	#show() {
		$("second-field").hidden = !this.#comparing;
		const { template, images = true, image_tokens, max_positions } = this.#model($("model").value) ?? {};
		$("about").textContent = [
			template && `Template ${template}`,
			!images && "no pictures",
			image_tokens && `${number(image_tokens)} positions a picture`,
			max_positions && `${number(max_positions)} positions in all`,
		].filter(Boolean).join(" · ");
	}

	#model(id) {
		return this.server.models.find((model) => model.id === id);
	}

	chosen() {
		return [$("model").value, this.#comparing && $("second").value].filter(Boolean);
	}

	// blind is a chosen model that is known not to look at pictures; undefined if all do.
	blind() {
		return this.chosen().find((id) => this.#model(id)?.known && !this.#model(id).images);
	}
}
