// Package caption chooses captions for the first stage of training as LLaVA did (Liu et al. 2023, section 4.1): so that
// many different things are seen, and none too often. A noun phrase in fewer than Min captions is passed over; of each
// other phrase, from the rarest on, all captions are kept, but at most Cap.
//
// LLaVA drew the Cap captions at random. Here a hash of phrase and caption decides, so the choice is a function of the
// captions and the seed, and a longer list of captions changes little of it.
//
// How captions become rows, in the order of the files:
//
//  1. read.go, coco.go: files of captions, in three forms, as a stream.
//  2. phrases.go, in_order.go: the phrases of each caption, from a file or found here ([phrase.Chunker]), by all
//     processors.
//  3. index.go, texts.go: captions and the normal forms of their phrases, in little memory: 3 million captions with 3.4
//     million different phrases take 0.8 GB.
//  4. rule.go: the captions that are kept.
//  5. filter.go: the files are read again, and the rows of kept captions written; report.go: what was kept.
package caption
