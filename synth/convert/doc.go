// Package convert makes LLaVA's instruction rows of public question sets: VQAv2, OK-VQA, GQA, A-OKVQA, TextCaps,
// OCR-VQA, RefCOCO, Visual Genome and ScienceQA, in the manner of the academic part of LLaVA-1.5's mixture.
//
//  1. [Convert] finds the format in a table and opens its files.
//  2. The format's reader takes their entries one at a time (stream.go), checks them, and groups questions by picture
//     in the order of the first that can be used. Files are as large as they like: in memory are the texts that will
//     be written, and what joins two files.
//  3. Each finished picture becomes rows, which pass a choice of so many pictures by hash if a limit is set, and are
//     written (output.go).
//
// Nothing is random: what has to be chosen is chosen by SHA-256 of the seed and an identifier, so that it does not
// depend on what else is in the file. What cannot become a row is counted by reason, and a file of another form is
// refused with what was found and what was expected.
package convert
