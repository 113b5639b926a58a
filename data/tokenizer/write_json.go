package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// object is a JSON object to be written or changed.
type object = map[string]any

// Fast returns the tokenizer.json of a SentencePiece tokenizer, as transformers' converter makes it for Llama
// (convert_slow_tokenizer.py): newer versions read nothing else reliably. With legacy, every stretch between special
// tokens gets a space before it, without it only the first. A tokenizer that was opened from a tokenizer.json returns
// that.
func (t *Tokenizer) Fast() (_ []byte, err error) {
	defer failure.MarkInput(&err)
	content, err := os.ReadFile(t.file)
	if err != nil {
		return nil, err
	}
	s, ok := t.stretches.(*sentencePiece)
	if !ok {
		return content, nil
	}
	model, err := parseSentencePiece(content)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", t.file, err)
	}
	vocabulary := make(map[string]int, len(model.pieces))
	for id, p := range model.pieces {
		vocabulary[p.text] = id
	}
	text := func(id int32) string { return model.pieces[id].text }
	single := []object{{"Sequence": object{"id": "A", "type_id": 0}}}
	special := object{}
	if t.AddBOS && int(t.BOS) < len(model.pieces) {
		bos := text(t.BOS)
		single = slices.Insert(single, 0, object{"SpecialToken": object{"id": bos, "type_id": 0}})
		special[bos] = object{"id": bos, "ids": []int32{t.BOS}, "tokens": []string{bos}}
	}
	normalizers := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": space}}
	var preTokenizer any
	if s.legacy && s.dummyPrefix {
		normalizers = slices.Insert(normalizers, 0, object{"type": "Prepend", "prepend": space})
	} else if !s.legacy {
		normalizers = nil
		preTokenizer = object{"type": "Metaspace", "replacement": space, "prepend_scheme": "first", "split": false}
	}
	fast := object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": t.listSpecials(),
		"normalizer": nil, "pre_tokenizer": preTokenizer,
		"post_processor": object{"type": "TemplateProcessing", "single": single,
			"pair": append(single, object{"Sequence": object{"id": "B", "type_id": 1}}), "special_tokens": special},
		"decoder": object{"type": "Sequence", "decoders": []object{
			{"type": "Replace", "pattern": object{"String": space}, "content": " "}, {"type": "ByteFallback"},
			{"type": "Fuse"},
			{"type": "Strip", "content": " ", "start": 1, "stop": 0},
		}},
		"model": object{"type": "BPE", "dropout": nil, "unk_token": unknownText(model.pieces),
			"continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary,
			"merges": merges(model.pieces, vocabulary)},
	}
	if normalizers != nil {
		fast["normalizer"] = object{"type": "Sequence", "normalizers": normalizers}
	}
	return json.Marshal(fast)
}

func unknownText(pieces []piece) any {
	if i := slices.IndexFunc(pieces, func(p piece) bool { return p.kind == unknownPiece }); i >= 0 {
		return pieces[i].text
	}
	return nil
}

// listSpecials lists the special tokens by id.
func (t *Tokenizer) listSpecials() []object {
	specials := slices.SortedFunc(slices.Values(t.specials), func(a, b specialToken) int {
		return cmp.Compare(a.id, b.id)
	})
	list := []object{}
	for _, s := range specials {
		list = append(list, object{"id": s.id, "content": s.text, "single_word": false, "lstrip": false,
			"rstrip": false, "normalized": false, "special": s.control})
	}
	return list
}

// merges lists all pairs of pieces that form another piece, in the order in which BPE tries them: by the score of the
// result.
func merges(pieces []piece, vocabulary map[string]int) [][2]string {
	type merge struct {
		left, right string
		score       float32
	}
	var all []merge
	for _, p := range pieces {
		first := len(all)
		for at := range p.text {
			_, left := vocabulary[p.text[:at]]
			_, right := vocabulary[p.text[at:]]
			if left && right {
				all = append(all, merge{p.text[:at], p.text[at:], p.score})
			}
		}
		slices.SortStableFunc(all[first:], func(a, b merge) int {
			return cmp.Or(cmp.Compare(vocabulary[a.left], vocabulary[b.left]),
				cmp.Compare(vocabulary[a.right], vocabulary[b.right]))
		})
	}
	slices.SortStableFunc(all, func(a, b merge) int {
		return cmp.Or(cmp.Compare(b.score, a.score),
			cmp.Compare(utf8.RuneCountInString(b.left), utf8.RuneCountInString(a.left)),
			cmp.Compare(utf8.RuneCountInString(b.right), utf8.RuneCountInString(a.right)))
	})
	pairs := make([][2]string, len(all))
	for i, m := range all {
		pairs[i] = [2]string{m.left, m.right}
	}
	return pairs
}
