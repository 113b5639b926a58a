// Package input opens what a stage reads: its model's tokenizer and image processor, and its data sets with their
// order. Training, check, plan, preview, score and shard read rows by the same code ([Dataset.Read]), so they agree on
// every row.
package input
