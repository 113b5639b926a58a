package tokenizer

import "unicode"

// Hugging Face's patterns use the letters and numbers of Unicode 16 (Oniguruma 6.9.10, in tokenizers 0.23.3), Go those
// of 15. These were added in between.
var (
	newerLetters = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c89, 0x1c8a, 1}, {0xa7cb, 0xa7cd, 1}, {0xa7da, 0xa7dc, 1}},
		R32: []unicode.Range32{
			{0x105c0, 0x105f3, 1}, {0x10d4a, 0x10d65, 1}, {0x10d6f, 0x10d85, 1}, {0x10ec2, 0x10ec4, 1},
			{0x11380, 0x11389, 1},
			{0x1138b, 0x1138b, 1}, {0x1138e, 0x1138e, 1}, {0x11390, 0x113b5, 1}, {0x113b7, 0x113b7, 1},
			{0x113d1, 0x113d1, 1},
			{0x113d3, 0x113d3, 1}, {0x11bc0, 0x11be0, 1}, {0x13460, 0x143fa, 1}, {0x16100, 0x1611d, 1},
			{0x16d40, 0x16d6c, 1},
			{0x18cff, 0x18cff, 1}, {0x1e5d0, 0x1e5ed, 1}, {0x1e5f0, 0x1e5f0, 1}, {0x2ebf0, 0x2ee5d, 1},
		},
	}
	newerNumbers = &unicode.RangeTable{R32: []unicode.Range32{
		{0x10d40, 0x10d49, 1}, {0x116d0, 0x116e3, 1}, {0x11bf0, 0x11bf9, 1}, {0x16130, 0x16139, 1},
		{0x16d70, 0x16d79, 1},
		{0x1ccf0, 0x1ccf9, 1}, {0x1e5f1, 0x1e5fa, 1},
	}}
)

// class is a class of characters that a pre-tokenizer's pattern distinguishes.
type class byte

const (
	otherClass  class = iota // none of those below
	letterClass              // \p{L}
	numberClass              // \p{N}
	spaceClass               // \s
)

var latinClasses = func() (classes [256]class) {
	for r := range classes {
		classes[r] = findClass(rune(r))
	}
	return classes
}()

func classOf(r rune) class {
	if uint32(r) < uint32(len(latinClasses)) {
		return latinClasses[r]
	}
	return findClass(r)
}

func findClass(r rune) class {
	switch {
	case unicode.IsLetter(r) || unicode.Is(newerLetters, r):
		return letterClass
	case unicode.IsNumber(r) || unicode.Is(newerNumbers, r):
		return numberClass
	case unicode.IsSpace(r):
		return spaceClass
	}
	return otherClass
}

// isWord is \w: what single_word checks for on both sides of an added token.
func isWord(r rune) bool {
	return classOf(r) == letterClass || unicode.Is(newerNumbers, r) || r == 0x200c || r == 0x200d ||
		unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
