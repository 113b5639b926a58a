// Package data turns rows of conversations and images into the batches of a training run. It is plain Go on plain
// slices, and decides everything that is in a batch: nothing is left to the model.
//
// The path of a sample:
//
//  1. A [rows.Source] reads a row of a data set as a [rows.Record]: images or their paths, and turns; only the form is
//     checked.
//  2. A template renders the turns as spans of text, each supervised or not.
//  3. A [tokenizer.Tokenizer] encodes the spans. An image placeholder becomes a run of [ImageToken], one for each
//     feature vector that will replace it.
//  4. Package picture decodes each image and resizes it to the tower's size, as bytes.
//  5. Steps 1 to 4 are a [Prepare], which gives a [Sample]. A row that cannot be used fails with an error that wraps
//     [picture.ErrRow].
//
// The path of a step:
//
//  6. A [Plan] gives the positions of the run that belong to the step. The [Order] maps each to a row of a data set,
//     using the weights of a [Mixture]. All three are pure functions, so a run resumes at any step without reading what
//     came before.
//  7. A [Loader] calls Prepare for the rows of upcoming steps in several goroutines and leaves out the bad ones.
//  8. [Split] or [SplitTokens] cuts the samples of the step into micro-batches, and [Collate] lays each end to end in a
//     [Batch].
//  9. [Loader.Next] returns them as a [Step], in order. The step's line in the ledger of the run folder (package runs)
//     lists the rows it used.
package data
