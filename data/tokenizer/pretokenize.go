package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// patterns are the regular expressions by which most byte-level vocabularies split text into words, each with code that
// does what an expression would do, several times as fast. They are written as in tokenizer.json.
var patterns = map[string]cutter{
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: llama3Word,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: qwen2Word,
	gpt2Pattern: gpt2Word,
}

// gpt2Pattern is the pattern that the pre-tokenizer ByteLevel itself splits by (use_regex).
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

func llama3Word(text string) int { return chatWord(text, 3) }
func qwen2Word(text string) int  { return chatWord(text, 1) }

// chatWord is the length of the word at the start of text by the pattern that Llama 3 and Qwen 2 share; digits is the
// maximum number of digits in a row. The comments are the pattern's alternatives, which are tried in order.
func chatWord(text string, digits int) int {
	if n := contraction(text, true); n > 0 { // (?i:'s|'t|'re|'ve|'m|'ll|'d)
		return n
	}
	first, width := utf8.DecodeRuneInString(text)
	kind := classOf(first)
	switch { // [^\r\n\p{L}\p{N}]?\p{L}+
	case kind == letterClass:
		return run(text, 0, letterClass)
	case kind != numberClass && first != '\r' && first != '\n':
		if end := run(text, width, letterClass); end > width {
			return end
		}
	}
	if kind == numberClass { // \p{N}{1,3}, \p{N}
		return atMost(text, digits)
	}
	if end := symbols(text); end > 0 { // ?[^\s\p{L}\p{N}]+[\r\n]*
		return end + lineBreaks(text[end:])
	}
	return blank(text, true) // \s*[\r\n]+|\s+(?!\S)|\s+
}

// gpt2Word is the length of the word at the start of text by gpt2Pattern.
func gpt2Word(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	start := 0
	if text[0] == ' ' {
		start = 1
	}
	for _, kind := range [...]class{letterClass, numberClass, otherClass} { // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
		if end := run(text, start, kind); end > start {
			return end
		}
	}
	return blank(text, false) // \s+(?!\S)|\s+
}

// contraction is the length of an English ending such as 've at the start of text, 0 if there is none.
func contraction(text string, anyCase bool) int {
	if text[0] != '\'' {
		return 0
	}
	for _, ending := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if strings.HasPrefix(text, ending) || anyCase && len(text) >= len(ending) &&
			strings.EqualFold(text[:len(ending)], ending) {
			return len(ending)
		}
	}
	if anyCase && strings.HasPrefix(text, "'ſ") { // the long s folds to s
		return len("'ſ")
	}
	return 0
}

// run returns the end of the run of characters of one class that starts at byte start.
func run(text string, start int, kind class) int {
	for start < len(text) {
		r, width := utf8.DecodeRuneInString(text[start:])
		if classOf(r) != kind {
			break
		}
		start += width
	}
	return start
}

// atMost is the length of the first count digits, or fewer.
func atMost(text string, count int) int {
	end := 0
	for range count {
		r, width := utf8.DecodeRuneInString(text[end:])
		if width == 0 || classOf(r) != numberClass {
			break
		}
		end += width
	}
	return end
}

// symbols is the length of a run of symbols with or without a space before it; 0 if there is none.
func symbols(text string) int {
	start := 0
	if text[0] == ' ' {
		start = 1
	}
	if end := run(text, start, otherClass); end > start {
		return end
	}
	return 0
}

func lineBreaks(text string) int { return len(text) - len(strings.TrimLeft(text, "\r\n")) }

// blank is the length of the white space at the start of text that is a word: up to its last line break, if those
// count; all but the last character if something follows, since that character belongs to the next word; otherwise all
// of it.
func blank(text string, breaks bool) int {
	end := run(text, 0, spaceClass)
	if last := strings.LastIndexAny(text[:end], "\r\n"); breaks && last >= 0 {
		return last + 1
	}
	_, width := utf8.DecodeLastRuneInString(text[:end])
	if end == len(text) || end == width {
		return end
	}
	return end - width
}
