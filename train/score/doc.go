// Package score computes a model's loss on rows without training it: for the score command, and for the held-out rows
// of a stage.
package score
