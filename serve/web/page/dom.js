// Elements are made here and nowhere else, from names, attributes and text: no string is ever read as HTML.

export const $ = (id) => document.getElementById(id);

// el makes an element. An attribute without a value is left out; a function is a listener, named onclick and the like;
// children are nodes, text, lists of them, or nothing. Attributes come last: a browser looks anew for the direction of
// an element that has dir=auto at each change.
export function el(name, attributes, ...children) {
	const element = document.createElement(name);
	for (const child of children.flat()) if (child) element.append(child);
	for (const [key, value] of Object.entries(attributes ?? {})) {
		if (typeof value === "function") element.addEventListener(key.slice(2), value);
		else if (![undefined, null, false].includes(value)) element.setAttribute(key, value);
	}
	return element;
}

const shapes = {
	send: "M12 19V5m-6 6 6-6 6 6",
	stop: "M7 7h10v10H7z",
	picture: "M4 5h16v14H4zm0 11 5-5 4 4 3-3 4 4M15.5 9h.01",
	close: "m6 6 12 12M18 6 6 18",
	copy: "M9 9h11v11H9zM5 15H4V4h11v1",
	again: "M19 12a7 7 0 1 1-2-5l2 2m0-5v5h-5",
	up: "M7 11v9H4v-9zm0 0 4-7c1.5 0 2.5 1 2.5 2.5V10H20l-2 10H7",
	down: "M7 13V4H4v9zm0 0 4 7c1.5 0 2.5-1 2.5-2.5V14H20L18 4H7",
	flag: "M6 21V4h11l-2 4 2 4H6",
	edit: "m4 20 1-4L16 5l3 3L8 19zM14 7l3 3",
	trash: "M4 7h16M9 7V4h6v3m3 0-1 13H7L6 7",
	plus: "M12 5v14M5 12h14",
	menu: "M4 7h16M4 12h16M4 17h16",
	columns: "M4 5h16v14H4zM12 5v14",
};

export function icon(name) {
	const [svg, path] = ["svg", "path"].map((kind) => document.createElementNS("http://www.w3.org/2000/svg", kind));
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", "true");
	path.setAttribute("d", shapes[name]);
	svg.append(path);
	return svg;
}

// button has an icon, and text or, as long as attributes has no class, only a name.
export function button(shape, name, onclick, attributes) {
	const named = attributes?.class ? {} : { class: "icon", "aria-label": name, title: name };
	return el("button", { type: "button", onclick, ...named, ...attributes }, icon(shape), attributes?.class && name);
}

export function show(image, blob) {
	image.onload = () => URL.revokeObjectURL(image.src);
	image.src = URL.createObjectURL(blob);
	return image;
}

// following makes a change. If the end of the page is in sight, it stays so.
export function following(change) {
	const page = document.documentElement;
	const follow = innerHeight + scrollY > page.scrollHeight - 100;
	change();
	if (follow) scrollTo(0, page.scrollHeight);
}

// number is n as people read it, with few digits.
export function number(n) {
	return n.toLocaleString("en", n < 10 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 });
}

// newID is a random name. (crypto.randomUUID is missing over plain HTTP.)
export function newID() {
	return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

// recall and remember use localStorage or sessionStorage, which may be switched off.
export function recall(storage, key) {
	try {
		return self[storage].getItem(`llavatrain.${key}`);
	} catch {
		return null;
	}
}

export function remember(storage, key, value) {
	try {
		self[storage].setItem(`llavatrain.${key}`, value);
	} catch { /* it lasts as long as the page */ }
}

// copyText says whether it could. (navigator.clipboard is missing over plain HTTP.)
export function copyText(text) {
	const focused = document.activeElement;
	const area = el("textarea", { class: "hidden-name" });
	area.value = text;
	document.body.append(area);
	area.select();
	const copied = document.execCommand("copy");
	area.remove();
	focused.focus();
	return copied;
}

// sends says whether a key press means "send". While an input method composes a word, Enter only ends the word.
export function sends(event) {
	return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}
