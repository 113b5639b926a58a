// Package answer asks a trained model questions about images: it finds the model behind a path, opens it, and turns questions into
// prompts and tokens into text, one at a time or a file of them.
package answer
