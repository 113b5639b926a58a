// Pictures become what the server reads: PNG or JPEG, no larger than models look at.

import { newID } from "./dom.js";

const longest = 1344; // pixels of a side, as in LLaVA's own page
const heaviest = 2 << 20; // bytes of a picture: eight of them fit into a request
const opened = 200 << 20; // bytes of a file

// take makes a picture of a file: {id, name, width, height, note, blob}. The error's message is for the user.
export async function take(file) {
	const name = file.name || "picture";
	if (file.size > opened) throw new Error(`${name} is larger than 200 MB. Make it smaller, and add that.`);
	const head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
	const image = new Image();
	image.src = URL.createObjectURL(file);
	try {
		await image.decode().catch(() => {
			throw new Error(unreadable(name, head));
		});
		const { naturalWidth: width, naturalHeight: height } = image;
		const type = format(head);
		const scale = Math.min(1, longest / Math.max(width, height));
		const picture = { id: newID(), name, note: "", width: Math.max(1, Math.round(width * scale)),
			height: Math.max(1, Math.round(height * scale)) };
		if (scale < 1) picture.note = `${width} × ${height}, sent as ${picture.width} × ${picture.height}`;
		const asIs = scale === 1 && file.size <= heaviest && type;
		return { ...picture, blob: asIs ? new Blob([file], { type }) : await redrawn(image, picture, type) };
	} finally {
		URL.revokeObjectURL(image.src);
	}
}

// redrawn is an image in a picture's size, as PNG if that is small enough and it was no JPEG.
async function redrawn(image, { name, width, height }, type) {
	const canvas = Object.assign(document.createElement("canvas"), { width, height });
	const context = canvas.getContext("2d");
	context.fillStyle = "#fff"; // below what is transparent
	context.fillRect(0, 0, width, height);
	context.imageSmoothingQuality = "high";
	context.drawImage(image, 0, 0, width, height);
	const draw = async (...form) => {
		const blob = await new Promise((done) => canvas.toBlob(done, ...form));
		if (!blob) throw new Error(`${name} is too large for this browser. Make it smaller, and add that.`);
		return blob.size <= heaviest && blob;
	};
	return (type !== "image/jpeg" && await draw("image/png")) || await draw("image/jpeg", 0.92) ||
		draw("image/jpeg", 0.5);
}

const begins = (head, ...bytes) => bytes.every((byte, i) => head[i] === byte);

// format is the type of a file that is sent as it is. (Others may hold many pictures, or the server may not know them.)
function format(head) {
	if (begins(head, 0x89, 0x50, 0x4e, 0x47)) return "image/png";
	return begins(head, 0xff, 0xd8, 0xff) ? "image/jpeg" : "";
}

function unreadable(name, head) {
	return /^ftyp(hei|hev|mif1|msf1)/.test(String.fromCharCode(...head.slice(4)))
		? `${name} is a HEIC picture, which this browser cannot open. Save it as JPEG, and add that.`
		: `${name} is no picture that this browser can open. Use PNG, JPEG, WebP or GIF.`;
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
export function fromDataURL(url) {
	const [, type, text] = /^data:(image\/(?:png|jpeg));base64,([A-Za-z0-9+/]+=*)$/.exec(url) ?? [];
	if (!type) return null;
	try {
		return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
	} catch {
		return null;
	}
}
