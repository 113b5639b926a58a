package alike

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/llavatrain/llavatrain/data/rows"
)

// Text is the normal form by which texts are compared: NFC, in simple lower case, with one kind of dash and apostrophe,
// one space between words and no punctuation at the ends of a word. What stands inside a word, signs and single dashes
// remain, so that 5-3 is not 53 and 5 % is not 5.
func Text(text string) string {
	words := strings.Fields(strings.Map(plainRune, norm.NFC.String(text)))
	kept := words[:0]
	for _, word := range words {
		if word = strings.Trim(word, endMarks); word != "" {
			kept = append(kept, word)
		}
	}
	return norm.NFC.String(strings.Join(kept, " ")) // lower case and dropped characters may bring others together
}

// endMarks are dropped from the ends of words.
const endMarks = ".,;:!?…\"'()[]{}<>*_`«»¿¡。，、；：！？「」『』（）【】《》"

// plainRune is a character as the normal form has it; -1 for one that has no width.
func plainRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z' || r == ' ': // most are
		return r
	case unicode.Is(unicode.Cf, r):
		return -1
	case unicode.IsControl(r):
		return ' '
	case unicode.Is(unicode.Pd, r) || r == '\u2212': // minus
		return '-'
	case strings.ContainsRune("‘’‚‛′´`ʼ", r):
		return '\''
	case strings.ContainsRune("“”„‟″", r):
		return '"'
	}
	return unicode.ToLower(r)
}

// answerForms are the lines that LLaVA-1.5 puts below a question to ask for the form of the answer. The training data
// has them in the first question of a row only.
var answerForms = []string{
	Text("Answer the question using a single word or phrase."),
	Text("Answer with the option's letter from the given choices directly."),
}

// Question is the normal form of a question, without the places of images and without a last line that asks for a short
// answer or a letter.
func Question(text string) string {
	text = Text(strings.ReplaceAll(text, rows.ImageMark, " "))
	for _, form := range answerForms {
		text = strings.TrimSuffix(text, " "+form)
	}
	return text
}

// Key stands for a normal form: two differ with all but certainty if the forms do. It is the same on every machine, and
// 0 for an empty form, which is equal to nothing.
func Key(normal string) uint64 {
	if normal == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(normal))
	return max(1, binary.BigEndian.Uint64(sum[:8]))
}

// captionWords is the fewest words of a caption. Shorter answers are values, such as "yes" and "a red bus".
const captionWords = 4

// Caption is the normal form of a row's caption: the answer of a row with a picture, one question and one answer, if it
// has at least four words. It is "" for other rows.
func Caption(r rows.Record) string {
	turns := r.Turns
	if len(turns) > 0 && turns[0].Role == "system" {
		turns = turns[1:]
	}
	if len(r.Images) == 0 || len(turns) != 2 {
		return ""
	}
	if text := Text(turns[1].Text); words(text) >= captionWords {
		return text
	}
	return ""
}

// words counts the words of a normal form, and each character where a script puts no spaces between words.
func words(normal string) (n int) {
	for word := range strings.FieldsSeq(normal) {
		n++
		for i, r := range word {
			if i > 0 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao,
				unicode.Khmer, unicode.Myanmar) {
				n++
			}
		}
	}
	return n
}
