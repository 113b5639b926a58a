package phrase

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed lists.json
var listsFile []byte

// lists are the words that a normal form leaves out.
var lists = sync.OnceValue(func() (l struct{ leading, pronouns map[string]bool }) {
	var file struct{ Leading, Pronouns string }
	if err := json.Unmarshal(listsFile, &file); err != nil {
		panic(err) // it is part of the program
	}
	l.leading, l.pronouns = set(file.Leading), set(file.Pronouns)
	return l
})

func set(words string) map[string]bool {
	all := map[string]bool{}
	for _, word := range strings.Fields(words) {
		all[word] = true
	}
	return all
}

// punctuation is cut off both ends of every word.
const punctuation = ".,;:!?\"()[]{}`*_~/\\|<>“”…-"

// Normal is the normal form of a phrase: lower case, without articles and other determiners at its start, without
// punctuation around its words, and with one way to write white space, dashes and apostrophes. It is "" if nothing is
// left, or one pronoun, which says nothing about a picture. The normal form of a normal form is itself.
func Normal(phrase string) string {
	words := strings.Fields(closeUp(strings.Map(plain, phrase)))
	kept := words[:0]
	for _, word := range words {
		word = strings.Trim(word, punctuation)
		if word != "" && (len(kept) > 0 || !lists().leading[word]) {
			kept = append(kept, word)
		}
	}
	if len(kept) == 1 && lists().pronouns[kept[0]] {
		return ""
	}
	// Cutting off punctuation may have left a word that begins with an apostrophe: red ball ,'s
	return strings.ReplaceAll(strings.Join(kept, " "), " '", "'")
}

// plain maps a character to its simple lower case, its plain dash, apostrophe or space.
func plain(r rune) rune {
	switch {
	case r < utf8.RuneSelf && !unicode.IsSpace(r):
		return unicode.ToLower(r)
	case unicode.IsSpace(r):
		return ' '
	case r == '’' || r == '‘' || r == 'ʼ' || r == '‛':
		return '\''
	case unicode.Is(unicode.Pd, r) || r == '−':
		return '-'
	}
	return unicode.ToLower(r)
}

// closeUp removes the spaces around dashes, "t - shirt", and before apostrophes, "a man 's hat", which some taggers put
// there.
func closeUp(text string) string {
	if !strings.ContainsAny(text, "-'") {
		return text
	}
	var out strings.Builder
	out.Grow(len(text))
	spaces, last := 0, byte(0)
	for i := range len(text) {
		c := text[i]
		if c == ' ' {
			spaces++
			continue
		}
		if spaces > 0 && c != '-' && c != '\'' && last != '-' {
			out.WriteByte(' ')
		}
		out.WriteByte(c)
		spaces, last = 0, c
	}
	return out.String()
}
