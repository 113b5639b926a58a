package data

import (
	"cmp"
	"slices"
)

// groupByModality orders the items of an epoch by the composition rule of LLaVA's modality-length sampler
// (haotian-liu/LLaVA, llava/train/llava_trainer.py, get_modality_length_grouped_indices), so that a step is nearly
// always of one modality and of similar lengths:
//
//  1. Items with an image (length above 0) and items without are grouped by length separately, into blocks of global
//     items.
//  2. The last block of each modality, full or not, is set aside.
//  3. The other blocks are shuffled.
//  4. The blocks set aside come at the end, in data order. Only there are modalities mixed.
//
// If all items have one modality, they are only grouped by length; there the original keeps the lengths of text
// negative, here they are absolute. A block is what one optimizer step takes: the original distributes its items over
// processes, which changes only their order within the step.
//
// The first lead items (0 in the original) complete a step that began in the previous epoch. They are taken from the
// items set aside, so that every block is still one whole step. perm draws random permutations of 0..n-1.
func groupByModality(lengths []int32, global, lead int, perm func(n int) []int32) []int32 {
	images, texts := splitByModality(lengths)
	if len(images) == 0 || len(texts) == 0 {
		return slices.Concat(groupByLength(append(images, texts...), lengths, global, lead, perm)...)
	}
	imageBlocks := groupByLength(images, lengths, global, 0, perm)
	textBlocks := groupByLength(texts, lengths, global, 0, perm)
	lastImage, lastText := len(imageBlocks)-1, len(textBlocks)-1
	aside := slices.Concat(imageBlocks[lastImage], textBlocks[lastText])

	blocks := shuffle(slices.Concat(imageBlocks[:lastImage], textBlocks[:lastText]), perm)
	for len(aside) < lead {
		last := len(blocks) - 1
		aside = append(aside, blocks[last]...)
		blocks = blocks[:last]
	}
	slices.Sort(aside)
	return slices.Concat(aside[:lead], slices.Concat(blocks...), aside[lead:])
}

// groupByLength shuffles the items, cuts them into a block of lead items (if lead is not 0) and blocks of global items,
// and sorts each block, longest first.
func groupByLength(items, lengths []int32, global, lead int, perm func(n int) []int32) [][]int32 {
	shuffled := shuffle(items, perm)
	var blocks [][]int32
	if lead > 0 {
		blocks = append(blocks, shuffled[:lead])
	}
	blocks = slices.AppendSeq(blocks, slices.Chunk(shuffled[lead:], global))
	for _, block := range blocks {
		slices.SortStableFunc(block, func(a, b int32) int {
			return cmp.Compare(magnitude(lengths[b]), magnitude(lengths[a]))
		})
	}
	return blocks
}

func splitByModality(lengths []int32) (images, texts []int32) {
	for item, length := range lengths {
		if length > 0 {
			images = append(images, int32(item))
		} else {
			texts = append(texts, int32(item))
		}
	}
	return images, texts
}

func shuffle[T any](values []T, perm func(n int) []int32) []T {
	out := make([]T, len(values))
	for to, from := range perm(len(values)) {
		out[to] = values[from]
	}
	return out
}

func magnitude(length int32) int32 { return max(length, -length) }
