// Pictures from files, drops and the clipboard become what the server reads: PNG or JPEG, no larger than a model looks at.

import { newID } from "./dom.js";

const longest = 1344; // pixels of a side, as in LLaVA's own page
const heaviest = 2 << 20; // bytes of a picture: eight of them fit into a request
const opened = 200 << 20; // bytes of a file

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

// take makes a picture of a file: {id, name, width, height, blob, note}. The error's message is for the user.
export async function take(file) {
	const name = file.name || "picture";
	if (file.size > opened) throw new Error(`${name} has ${megabytes(file.size)}; at most ${megabytes(opened)} are opened.`);
	const head = new Uint8Array(await file.slice(0, 32).arrayBuffer());
	const url = URL.createObjectURL(file);
	try {
		const image = new Image();
		image.src = url;
		try {
			await image.decode();
		} catch {
			throw new Error(unreadable(name, head));
		}
		const [width, height] = [image.naturalWidth || 512, image.naturalHeight || 512];
		const kind = format(head);
		const scale = Math.min(1, longest / Math.max(width, height));
		if (scale === 1 && file.size <= heaviest && kind) {
			return { id: newID(), name, width, height, blob: new Blob([file], { type: kind }), note: "" };
		}
		return await redrawn(image, name, width, height, scale, kind);
	} finally {
		URL.revokeObjectURL(url);
	}
}

async function redrawn(image, name, fullWidth, fullHeight, scale, kind) {
	const width = Math.max(1, Math.round(fullWidth * scale));
	const height = Math.max(1, Math.round(fullHeight * scale));
	const canvas = document.createElement("canvas");
	Object.assign(canvas, { width, height });
	const context = canvas.getContext("2d");
	context.fillStyle = "#fff"; // below what is transparent
	context.fillRect(0, 0, width, height);
	context.imageSmoothingQuality = "high";
	context.drawImage(image, 0, 0, width, height);
	let blob = null;
	for (const [type, quality] of [["image/png"], ["image/jpeg", 0.92], ["image/jpeg", 0.75]]) {
		if (type === "image/png" && kind === "image/jpeg") continue;
		blob = await new Promise((done) => canvas.toBlob(done, type, quality));
		if (!blob) throw new Error(`${name} is too large for this browser: make it smaller than ${fullWidth} × ${fullHeight}.`);
		if (blob.size <= heaviest) break;
	}
	const note = scale < 1 ? `${fullWidth} × ${fullHeight}, sent as ${width} × ${height}` : "";
	return { id: newID(), name, width, height, blob, note };
}

const starts = (head, bytes) => bytes.every((byte, i) => head[i] === byte);

// format is the type of a file that is sent as it is. (Others may hold many pictures, or the server may not know them.)
function format(head) {
	if (starts(head, [0x89, 0x50, 0x4e, 0x47])) return "image/png";
	return starts(head, [0xff, 0xd8, 0xff]) ? "image/jpeg" : "";
}

function unreadable(name, head) {
	const box = String.fromCharCode(...head.slice(4, 12));
	if (/^ftyp(hei|hev|mif1|msf1)/.test(box)) {
		return `${name} is a HEIC picture, which this browser cannot open. Save it as JPEG, and add that.`;
	}
	if (starts(head, [0x25, 0x50, 0x44, 0x46])) return `${name} is a PDF. Save the page you ask about as PNG, and add that.`;
	return `${name} is no picture that this browser can open. Use PNG, JPEG, WebP or GIF.`;
}

// dataURL is a picture as requests and exports hold it.
export function dataURL(blob) {
	return new Promise((done, fail) => {
		const reader = new FileReader();
		reader.onload = () => done(reader.result);
		reader.onerror = () => fail(reader.error);
		reader.readAsDataURL(blob);
	});
}

// fromDataURL is its inverse; null if the text is no picture.
export function fromDataURL(text) {
	const found = /^data:(image\/(?:png|jpeg));base64,([A-Za-z0-9+/=]+)$/.exec(text);
	if (!found) return null;
	try {
		return new Blob([Uint8Array.from(atob(found[2]), (c) => c.charCodeAt(0))], { type: found[1] });
	} catch {
		return null;
	}
}
