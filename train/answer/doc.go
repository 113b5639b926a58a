// Package answer asks a trained model questions about images: it finds the model that a path stands for, opens it, and
// turns questions into prompts and tokens into text, for one question or a file of questions.
package answer
