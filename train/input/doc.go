// Package input opens what a stage reads: the tokenizer and the image processor that belong to its model, and its data sets with
// their order. Training, check, plan, preview, score and shard read rows by the same code ([Dataset.Read]), so that they agree on
// every row.
package input
