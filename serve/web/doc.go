// Package web is the web program: the page, the models of a controller (or of this process), for OpenAI's API too, and
// a log of conversations and votes.
//
// # What the page may rely on
//
// All addresses are relative to the page's own, so that it works below any prefix of a proxy.
//
// The files of the folder page are embedded and lie beside the page: page/index.html is "./", page/app.js is
// "./app.js". They need no token, and hold nothing secret. They come with an ETag, and with these headers:
//
//	Content-Security-Policy: default-src 'self'; img-src 'self' data: blob:; object-src 'none';
//	    frame-ancestors 'none'; base-uri 'none'
//	X-Content-Type-Options: nosniff
//	Referrer-Policy: no-referrer
//
// so scripts and styles stand in files, not inline: no style="…" and no onclick="…" in the markup.
// (element.style.width = "…" from a script is allowed.)
//
// A server that needs a token says 401 to everything below. The page takes it from the address's "#token=…", keeps it
// in the session storage, removes it from the address, and sends "Authorization: Bearer TOKEN".
//
// Every fault is JSON in OpenAI's form with a status of 400 or more:
// {"error": {"message", "type", "param", "code"}}. The message is a sentence for the user.
//
// # GET page/models
//
// The models, sorted by name, and what the page must know of the server. "?model=NAME" selects one.
//
//	{
//	  "models": [{
//	    "id": "llava-v1.5-7b",    for "model" in v1/chat/completions
//	    "known": true,            false: a worker of another program, of which the next four are guesses or 0
//	    "template": "vicuna_v1",  "" if unknown
//	    "images": true,           false: pictures are refused
//	    "image_tokens": 576,      positions of a small square picture; 0: unknown
//	    "max_positions": 4096,    of prompt and answer together; 0: unknown
//	    "queue": 3,               requests that run or wait
//	  }],
//	  "selected": "llava-v1.5-7b",  the one of "?model=" if it is served, else the first; "" without models
//	  "votes": true,                whether votes are kept; false: POST page/vote has no effect
//	  "embed": false,               true: show neither title nor terms, the page stands in another
//	  "pictures": 8,                most of a request
//	  "picture_bytes": 16777216,    most of one picture's file
//	  "pixels": 50000000,           most of one picture
//	  "body_bytes": 25165824        most of a request: base64 makes 4 bytes of 3
//	}
//
// 502 with a fault if the controller does not answer. The page asks at load, and may ask again (a button, or after a
// 404 for a model): with the list mode "reload" the controller is asked each time, with "once" only at the
// server's start.
//
// # POST v1/chat/completions
//
// Answers come by OpenAI's API, "stream": true and "stream_options": {"include_usage": true}. A picture is
// {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}. While a request waits, comments come:
// ": waiting 3" says that it is the third in the queue, ": waiting" that its place is not known (another worker's
// queue, or the prompt is being read). The last chunk before "data: [DONE]" has no choices and "usage":
// {prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details: {cached_tokens}}; numbers are 0 where a
// worker of another program does not tell. A stream that ends without [DONE] has failed; if the server could say why,
// the last event was {"error": {…}}. Stop: abort the request; the server stops the answer.
//
// The server logs the conversation itself, if it logs at all: the page sends nothing for that.
//
// # POST page/vote
//
// A vote about the conversation's last answer:
//
//	{
//	  "vote": "upvote",          or "downvote" or "flag"
//	  "model": "llava-v1.5-7b",
//	  "id": "chatcmpl-…",        of the answer, from its chunks
//	  "messages": [{"role": "user", "text": "What is this?", "pictures": 1}, {"role": "assistant", "text": "A tree."}]
//	}
//
// Roles are system, user and assistant; pictures are only counted. The answer is {"kept": true}, or {"kept": false}
// where no log is kept. 400 if the vote is none of the three; 413 above 1 MiB.
package web
