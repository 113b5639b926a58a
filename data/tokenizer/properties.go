package tokenizer

import "unicode"

// properties are the Unicode properties that a pattern may name, as Hugging Face's tables have them: in Unicode 16,
// Go's in 15.
var properties = map[string]func() runeRanges{
	"L":  func() runeRanges { return tableRanges(unicode.L, newerLetters) },
	"Lu": func() runeRanges { return tableRanges(unicode.Lu, newerUpper) },
	"Ll": func() runeRanges { return tableRanges(unicode.Ll, newerLower) },
	"Lt": func() runeRanges { return tableRanges(unicode.Lt) },
	"Lm": func() runeRanges { return tableRanges(unicode.Lm, newerModifiers) },
	"Lo": func() runeRanges {
		return tableRanges(unicode.Lo, newerLetters).without(tableRanges(newerUpper, newerLower, newerModifiers))
	},
	"M":  func() runeRanges { return tableRanges(unicode.M, newerMarks) },
	"N":  func() runeRanges { return tableRanges(unicode.N, newerNumbers) },
	"Nd": func() runeRanges { return tableRanges(unicode.Nd, newerNumbers) },
	"P":  func() runeRanges { return tableRanges(unicode.P, newerPunctuation) },
	"S":  func() runeRanges { return tableRanges(unicode.S, newerSymbols) },
}

// Characters of Unicode 15.1 and 16; newerLetters and newerNumbers are in classes.go.
var (
	newerUpper = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c89, 0x1c89, 1}, {0xa7cb, 0xa7cc, 1}, {0xa7da, 0xa7da, 1}, {0xa7dc, 0xa7dc, 1}},
		R32: []unicode.Range32{{0x10d50, 0x10d65, 1}},
	}
	newerLower = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c8a, 0x1c8a, 1}, {0xa7cd, 0xa7cd, 1}, {0xa7db, 0xa7db, 1}},
		R32: []unicode.Range32{{0x10d70, 0x10d85, 1}},
	}
	newerModifiers = &unicode.RangeTable{
		R32: []unicode.Range32{
			{0x10d4e, 0x10d4e, 1}, {0x10d6f, 0x10d6f, 1}, {0x16d40, 0x16d42, 1}, {0x16d6b, 0x16d6c, 1},
		},
	}
	newerMarks = &unicode.RangeTable{
		R16: []unicode.Range16{{0x897, 0x897, 1}},
		R32: []unicode.Range32{
			{0x10d69, 0x10d6d, 1}, {0x10efc, 0x10efc, 1}, {0x113b8, 0x113c0, 1}, {0x113c2, 0x113c2, 1},
			{0x113c5, 0x113c5, 1}, {0x113c7, 0x113ca, 1}, {0x113cc, 0x113d0, 1}, {0x113d2, 0x113d2, 1},
			{0x113e1, 0x113e2, 1}, {0x11f5a, 0x11f5a, 1}, {0x1611e, 0x1612f, 1}, {0x1e5ee, 0x1e5ef, 1},
		},
	}
	newerPunctuation = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1b4e, 0x1b4f, 1}, {0x1b7f, 0x1b7f, 1}},
		R32: []unicode.Range32{
			{0x10d6e, 0x10d6e, 1}, {0x113d4, 0x113d5, 1}, {0x113d7, 0x113d8, 1}, {0x11be1, 0x11be1, 1},
			{0x16d6d, 0x16d6f, 1}, {0x1e5ff, 0x1e5ff, 1},
		},
	}
	newerSymbols = &unicode.RangeTable{
		R16: []unicode.Range16{{0x2427, 0x2429, 1}, {0x2ffc, 0x2fff, 1}, {0x31e4, 0x31e5, 1}, {0x31ef, 0x31ef, 1}},
		R32: []unicode.Range32{
			{0x10d8e, 0x10d8f, 1}, {0x1cc00, 0x1ccef, 1}, {0x1cd00, 0x1ceb3, 1}, {0x1f8b2, 0x1f8bb, 1},
			{0x1f8c0, 0x1f8c1, 1}, {0x1fa89, 0x1fa89, 1}, {0x1fa8f, 0x1fa8f, 1}, {0x1fabe, 0x1fabe, 1},
			{0x1fac6, 0x1fac6, 1}, {0x1fadc, 0x1fadc, 1}, {0x1fadf, 0x1fadf, 1}, {0x1fae9, 0x1fae9, 1},
			{0x1fbcb, 0x1fbef, 1},
		},
	}
)

// numeric are the characters that the pre-tokenizer Digits splits by: those of Unicode 17, by Rust's char::is_numeric.
var numeric = newCharacterSet(tableRanges(unicode.N, newerNumbers, newestNumbers))

// newestNumbers were added in Unicode 17.
var newestNumbers = &unicode.RangeTable{
	R32: []unicode.Range32{{0x11de0, 0x11de9, 1}, {0x16ff4, 0x16ff6, 1}},
}

// punctuation are the characters that the pre-tokenizer Punctuation splits by: ASCII's symbols, and the punctuation of
// Unicode 8 with a few additions.
var punctuation = newCharacterSet(append(tableRanges(unicode.P).without(tableRanges(unknownPunctuation)),
	runeRanges{{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'`', '`'}, {'|', '|'}, {'~', '~'},
		{0x166d, 0x166d}, {0x111c9, 0x111c9}}...))

// unknownPunctuation is punctuation that Punctuation does not know.
var unknownPunctuation = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x61d, 0x61d, 1}, {0x9fd, 0x9fd, 1}, {0xa76, 0xa76, 1}, {0xc77, 0xc77, 1}, {0xc84, 0xc84, 1},
		{0x1b7d, 0x1b7e, 1}, {0x2e43, 0x2e4f, 1}, {0x2e52, 0x2e5d, 1},
	},
	R32: []unicode.Range32{
		{0x10ead, 0x10ead, 1}, {0x10f55, 0x10f59, 1}, {0x10f86, 0x10f89, 1}, {0x1144b, 0x1144f, 1},
		{0x1145a, 0x1145b, 1}, {0x1145d, 0x1145d, 1}, {0x11660, 0x1166c, 1}, {0x116b9, 0x116b9, 1},
		{0x1183b, 0x1183b, 1}, {0x11944, 0x11946, 1}, {0x119e2, 0x119e2, 1}, {0x11a3f, 0x11a46, 1},
		{0x11a9a, 0x11a9c, 1}, {0x11a9e, 0x11aa2, 1}, {0x11b00, 0x11b09, 1}, {0x11c41, 0x11c45, 1},
		{0x11c70, 0x11c71, 1}, {0x11ef7, 0x11ef8, 1}, {0x11f43, 0x11f4f, 1}, {0x11fff, 0x11fff, 1},
		{0x12ff1, 0x12ff2, 1}, {0x16e97, 0x16e9a, 1}, {0x16fe2, 0x16fe2, 1}, {0x1e95e, 0x1e95f, 1},
	},
}
