package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// metaspace is the pre-tokenizer Metaspace: it writes spaces as ▁ and may put one before the text.
type metaspace struct {
	always, first bool // which stretches get one: all, or only the one at the start of the text
}

func (s *metaspace) mark(text string, atStart bool) aligned {
	begins := strings.HasPrefix(text, " ") || strings.HasPrefix(text, space)
	return markSpaces(text, !begins && (s.always || s.first && atStart))
}

func (p *pipeline) readMetaspace(c component) error {
	s := struct {
		Type        string `json:"type"`
		Replacement string `json:"replacement"`
		Rendered    string `json:"str_rep"` // older files repeat it
		AddPrefix   *bool  `json:"add_prefix_space"`
		Scheme      string `json:"prepend_scheme"`
		Split       *bool  `json:"split"`
	}{Scheme: "always"}
	if err := strictJSON(c.raw, &s); err != nil {
		return fmt.Errorf("pre-tokenizer Metaspace: %w", err)
	}
	if s.Replacement != space {
		return fmt.Errorf("pre-tokenizer Metaspace writes %q for a space; only %q is supported", s.Replacement, space)
	}
	p.metaspace = &metaspace{always: s.Scheme == "always", first: s.Scheme == "first"}
	if !p.metaspace.always && !p.metaspace.first && s.Scheme != "never" {
		return fmt.Errorf("pre-tokenizer Metaspace has the prepend_scheme %q; always, first and never are supported",
			s.Scheme)
	}
	if s.AddPrefix != nil && !*s.AddPrefix && s.Scheme != "never" {
		return errors.New("pre-tokenizer Metaspace has a prepend_scheme but no add_prefix_space")
	}
	if s.Split == nil || *s.Split {
		p.cuts = []cutter{markedWord}
	}
	return nil
}

// markedWord is the length of the first word if every ▁ starts a word.
func markedWord(text string) int {
	if len(text) > len(space) {
		if end := strings.Index(text[1:], space); end >= 0 {
			return end + 1
		}
	}
	return len(text)
}

// readPreTokenizer fills metaspace, cuts, or both.
func (p *pipeline) readPreTokenizer(c component) error {
	steps, err := c.steps("pretokenizers", 0)
	if err != nil {
		return fmt.Errorf("pre-tokenizer: %w", err)
	}
	isByteLevel := func(c component) bool { return c.Type == "ByteLevel" }
	switch {
	case len(steps) == 0:
		return nil
	case len(steps) == 1 && steps[0].Type == "Metaspace":
		return p.readMetaspace(steps[0])
	case len(steps) == 1 && steps[0].Type == "Split":
		return checkSpaceSplit(steps[0])
	case !slices.ContainsFunc(steps, isByteLevel):
		return fmt.Errorf("pre-tokenizer is %q; none, Metaspace, Split at spaces, and sequences of %s "+
			"with one ByteLevel are supported", names(steps), strings.Join(cutterNames(), ", "))
	}
	for _, step := range steps {
		if isByteLevel(step) {
			if p.byteLevel {
				return errors.New("pre-tokenizer has ByteLevel twice, which is not supported")
			}
			p.byteLevel = true
		}
		cut, err := parseCutter(step, p.byteLevel)
		if err != nil {
			return fmt.Errorf("pre-tokenizer %w", err)
		}
		if cut != nil {
			p.cuts = append(p.cuts, cut)
		}
	}
	return nil
}

// cutter returns the length of the first piece of a text that is not empty. It sees a text's start as the start of
// everything, which it is for the patterns in use: none looks back.
type cutter func(text string) int

// cutters are the pre-tokenizers that cut text into pieces that are encoded one by one.
var cutters = []struct {
	name  string
	parse func(c component, letters bool) (cutter, error)
}{
	{"ByteLevel", parseByteLevel}, {"Digits", parseDigits}, {"Punctuation", parsePunctuation}, {"Split", parseSplit},
}

func cutterNames() (list []string) {
	for _, c := range cutters {
		list = append(list, c.name)
	}
	return list
}

// parseCutter makes a cutter, nil if the component cuts nothing. It reads characters, or behind ByteLevel the letters
// that stand for bytes.
func parseCutter(c component, letters bool) (cutter, error) {
	for _, known := range cutters {
		if known.name == c.Type {
			cut, err := known.parse(c, letters)
			if err != nil {
				return nil, fmt.Errorf("%s %w", c.Type, err)
			}
			return cut, nil
		}
	}
	return nil, fmt.Errorf("is %q; %s are supported beside ByteLevel", c.Type, strings.Join(cutterNames(), ", "))
}

// splitComponent is the component Split.
type splitComponent struct {
	Type     string  `json:"type"`
	Pattern  pattern `json:"pattern"`
	Behavior string  `json:"behavior"`
	Invert   bool    `json:"invert"`
}

func parseSplit(c component, letters bool) (cutter, error) {
	var s splitComponent
	if err := strictJSON(c.raw, &s); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	inverted := s.Behavior == "Removed" && s.Invert // removes what does not match
	if s.Behavior != "Isolated" && !inverted || s.Invert && !inverted {
		return nil, fmt.Errorf("has the behavior %q, invert %t; only Isolated, and Removed with invert, are supported",
			s.Behavior, s.Invert)
	}
	if s.Pattern.String != "" {
		s.Pattern.Regex = regexp.QuoteMeta(s.Pattern.String)
	} else if cut, ok := patterns[s.Pattern.Regex]; ok && !letters {
		return cut, nil
	}
	e, err := parseExpression(s.Pattern.Regex, letters)
	if err != nil {
		return nil, fmt.Errorf("has the pattern %q: %w", s.Pattern.Regex, err)
	}
	if inverted && !e.coversAll() {
		return nil, fmt.Errorf("removes text that the pattern %q does not match, which is not supported",
			s.Pattern.Regex)
	}
	return e.word, nil
}

// checkSpaceSplit accepts a Split of text that has no space left, as in Gemma: there is nothing to do.
func checkSpaceSplit(c component) error {
	var s splitComponent
	if err := strictJSON(c.raw, &s); err != nil {
		return fmt.Errorf("pre-tokenizer Split: %w", err)
	}
	if (s.Pattern != pattern{String: " "} || s.Invert) {
		return errors.New("pre-tokenizer Split without ByteLevel is not supported, except at single spaces")
	}
	return nil
}

func parseByteLevel(c component, _ bool) (cutter, error) {
	s := struct {
		Type      string `json:"type"`
		AddPrefix bool   `json:"add_prefix_space"`
		Trim      bool   `json:"trim_offsets"` // offsets are computed here
		Regex     bool   `json:"use_regex"`
	}{AddPrefix: true, Regex: true}
	if err := strictJSON(c.raw, &s); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if s.AddPrefix {
		return nil, errors.New("has add_prefix_space true; only false is supported")
	}
	if s.Regex {
		return gpt2Word, nil
	}
	return nil, nil
}

func parseDigits(c component, letters bool) (cutter, error) {
	var s struct {
		Type       string `json:"type"`
		Individual bool   `json:"individual_digits"`
	}
	if err := strictJSON(c.raw, &s); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return membersOf(numeric, s.Individual, letters), nil
}

func parsePunctuation(c component, letters bool) (cutter, error) {
	s := struct {
		Type     string `json:"type"`
		Behavior string `json:"behavior"`
	}{Behavior: "Isolated"}
	if err := strictJSON(c.raw, &s); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if s.Behavior != "Isolated" && s.Behavior != "Contiguous" {
		return nil, fmt.Errorf("has the behavior %q; Isolated and Contiguous are supported", s.Behavior)
	}
	return membersOf(punctuation, s.Behavior == "Isolated", letters), nil
}

// membersOf cuts text into members of set and runs of what is not in it. Members are cut one by one, or in runs too.
func membersOf(set *characterSet, individually, letters bool) cutter {
	next := reader(letters)
	return func(text string) int {
		r, end := next(text, 0)
		member := set.has(r)
		for end < len(text) && !(member && individually) {
			r, width := next(text, end)
			if set.has(r) != member {
				break
			}
			end += width
		}
		return end
	}
}
