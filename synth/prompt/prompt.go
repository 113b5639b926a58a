// Package prompt holds what a chat model is told and shown before it is given a scene: files, one folder a kind of
// answer, that a user may replace.
//
//  1. [Load] reads the folders, or the program's own prompts, and checks the examples by the parser that will read the
//     answers. [Write] writes the program's own, to be changed.
//  2. [Prompt.Request] puts a scene behind them: the messages, a key that names their content, and how many tokens they
//     are about. All that varies stands last, so that an endpoint can keep what all requests of a kind share.
//  3. [Prompt.Question] chooses the question of a description, which no model is asked for.
//
// The shape of a request, a system message and some examples before the scene, is that of LLaVA (Liu et al. 2023), and
// its prompt folders can be read; the program's own prompts are new.
package prompt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"github.com/llavatrain/llavatrain/synth/answer"
)

// Prompt is what stands before every scene of a kind.
type Prompt struct {
	Kind      answer.Kind
	System    string
	Examples  []Example // in the order of their numbers; may be none
	Questions []string  // for descriptions: one of them becomes the question of a row
	Version   string    // 12 hexadecimal digits of the SHA-256 of the kind and the files

	head   []byte  // the messages before that of the scene, as JSON, without the closing bracket
	tokens float64 // of head
}

// Example is a scene and what a good answer to it is.
type Example struct{ Context, Answer string }

// Boxes reports whether scenes of a kind are shown with their boxes. LLaVA's conversations were made without.
func Boxes(kind answer.Kind) bool { return kind != answer.Conversation }

// Question is the question of the description of a scene: always the same for a seed and a scene's id.
func (p *Prompt) Question(seed uint64, id string) string {
	return Choose(p.Questions, "detail", seed, id)
}

// Filters are those for the answers to this prompt.
func (p *Prompt) Filters(english bool) *answer.Filters {
	against := answer.Against{System: p.System, English: english}
	for _, example := range p.Examples {
		against.Examples = append(against.Examples, example.Answer)
	}
	return answer.NewFilters(against)
}

// finish fills in what follows from the files. questions is the text of theirs.
func (p *Prompt) finish(questions string) {
	parts := newParts()
	parts.add(string(p.Kind), p.System)
	for _, example := range p.Examples {
		parts.add(example.Context, example.Answer)
	}
	if p.Kind == answer.Detail {
		parts.add(questions)
	}
	p.Version = parts.sum()[:12]
	for i, message := range p.before() {
		p.head = append(append(p.head, "[,"[min(i, 1)]), encode(message)...)
		p.tokens += tokens(message.Content)
	}
}

// parts hashes texts, each preceded by its length in eight bytes, so that text moved from one to the next changes the
// sum.
type parts struct{ hash.Hash }

func newParts() parts { return parts{sha256.New()} }

func (p parts) add(texts ...string) {
	for _, text := range texts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		p.Write(length[:])
		p.Write([]byte(text))
	}
}

func (p parts) sum() string { return hex.EncodeToString(p.Sum(nil)) }
