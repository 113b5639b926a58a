// Package phrase finds the noun phrases of English captions and brings phrases into a normal form, so that "A red ball"
// and "the red ball," are the same phrase.
//
// From a caption to its phrases, in the order of the files:
//
//  1. normal.go: the normal form of a phrase, whoever found it.
//  2. words.go: the caption is cut into words and punctuation.
//  3. tagger.go: each word gets its part of speech, by the model that comes with github.com/jdkato/prose.
//  4. features.go, labels.go: a linear model scores for each word whether it begins a phrase, continues one or is
//     outside, and the best sequence of labels is found.
//  5. chunker.go: the words with these labels are the phrases.
//  6. weights.go: the file of the weights. The ones that Open uses are in chunker.bin; scripts/chunker has learned
//     them, by learn.go and variants.go, from captions of COCO val2014 (COCO Consortium, CC BY 4.0) in which spaCy's
//     model en_core_web_sm had found the phrases.
//
// All scores are integers: the phrases of a caption do not depend on the machine, the number of processors or the order
// of work, and learning again from the same sentences gives the same bytes.
package phrase
