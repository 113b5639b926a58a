package tokenizer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseExpression reads the part of Oniguruma's syntax that published tokenizers use; everything else is an error.
func parseExpression(text string, letters bool) (*expression, error) {
	p := expressionParser{text: text}
	inner, err := p.alternatives()
	switch {
	case err != nil:
		return nil, err
	case p.at < len(text):
		return nil, p.unsupported(")")
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("it is not UTF-8")
	case slices.ContainsFunc(inner, canBeEmpty):
		return nil, fmt.Errorf("it matches the empty text, which is not supported")
	}
	start := &step{kind: branchStep, min: 1, inner: inner}
	link([]*step{start}, nil)
	return &expression{start: start, letters: letters, next: reader(letters)}, nil
}

// link makes a chain of steps that goes on to next.
func link(steps []*step, next *step) *step {
	for _, s := range slices.Backward(steps) {
		s.next = next
		for _, inner := range s.inner {
			s.branches = append(s.branches, link(inner, next))
		}
		if s.kind == branchStep && s.min == 0 {
			s.branches = append(s.branches, next)
		}
		next = s
	}
	return next
}

func canBeEmpty(steps []*step) bool {
	return !slices.ContainsFunc(steps, func(s *step) bool {
		return s.min > 0 && !(s.kind == branchStep && slices.ContainsFunc(s.inner, canBeEmpty))
	})
}

type expressionParser struct {
	text  string
	at    int
	depth int  // of groups
	fold  bool // capitals are as good as small letters
}

func (p *expressionParser) unsupported(what string) error {
	return fmt.Errorf("%q at byte %d is not supported", what, p.at)
}

// skip steps over text if it comes next.
func (p *expressionParser) skip(text string) bool {
	if !strings.HasPrefix(p.text[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

func (p *expressionParser) alternatives() (all [][]*step, err error) {
	for {
		steps, err := p.sequence()
		if err != nil {
			return nil, err
		}
		if all = append(all, steps); !p.skip("|") {
			return all, nil
		}
	}
}

// maxRepeats bounds what matching costs, which grows with the length of a word to this power.
const maxRepeats = 6

func (p *expressionParser) sequence() (steps []*step, err error) {
	repeats := 0
	for p.at < len(p.text) && !strings.ContainsRune("|)", rune(p.text[p.at])) {
		s, err := p.item()
		if err != nil {
			return nil, err
		}
		if err := p.quantifier(s); err != nil {
			return nil, err
		}
		if s.min != s.max || s.kind == branchStep {
			repeats++
		}
		steps = append(steps, s)
	}
	if repeats > maxRepeats {
		return nil, fmt.Errorf("%d repetitions and groups in a row are not supported", repeats)
	}
	return steps, nil
}

// item reads one character, class, group or assertion.
func (p *expressionParser) item() (*step, error) {
	one := &step{kind: repeatStep, min: 1, max: 1}
	switch c := p.text[p.at]; c {
	case '(':
		return p.group()
	case '$':
		p.at++
		return &step{kind: lineEndStep}, nil
	case '[', '\\':
		members, _, err := p.members()
		if err != nil {
			return nil, err
		}
		one.set = newCharacterSet(members)
	case '.', '^', '*', '+', '?', '{', ']':
		return nil, p.unsupported(string(c))
	default:
		one.set = newCharacterSet(p.literal())
	}
	return one, nil
}

// literal reads a character that stands for itself.
func (p *expressionParser) literal() runeRanges {
	r, width := utf8.DecodeRuneInString(p.text[p.at:])
	p.at += width
	members := runeRanges{{r, r}}
	for other := unicode.SimpleFold(r); p.fold && other != r; other = unicode.SimpleFold(other) {
		members = append(members, runeRange{other, other})
	}
	return members
}

// quantifier makes a repetition of s if that is what comes next.
func (p *expressionParser) quantifier(s *step) error {
	if p.at == len(p.text) || !strings.ContainsRune("?*+{", rune(p.text[p.at])) {
		return nil
	}
	start, sign := p.at, p.text[p.at]
	least, most := 0, unlimited
	switch p.at++; sign {
	case '?':
		most = 1
	case '+':
		least = 1
	case '{':
		inside, rest, _ := strings.Cut(p.text[p.at:], "}")
		from, to, ranged := strings.Cut(inside, ",")
		var errFrom, errTo error
		least, errFrom = strconv.Atoi(from)
		if most = least; ranged && to != "" {
			most, errTo = strconv.Atoi(to)
		} else if ranged {
			most = unlimited
		}
		if errFrom != nil || errTo != nil || least < 0 || most < max(least, 1) || most > unlimited {
			return p.unsupported("{" + inside)
		}
		p.at = len(p.text) - len(rest)
	}
	s.possessive = sign != '{' && p.skip("+")
	if p.at < len(p.text) && strings.ContainsRune("?*+{", rune(p.text[p.at])) ||
		s.kind != repeatStep && (s.kind != branchStep || sign != '?' || s.possessive) {
		p.at = start
		return p.unsupported(p.text[start:])
	}
	s.min, s.max = least, most
	return nil
}

// foldsSimply reports whether without regard to case each character of an expression matches one character. Pairs such
// as ss also match one, here ß.
func foldsSimply(text string) bool {
	for _, pair := range []string{"ss", "st", "ff", "fi", "fl"} {
		if strings.Contains(text, pair) {
			return false
		}
	}
	return !strings.ContainsAny(text, `\-`) && len(text) == utf8.RuneCountInString(text)
}

// group reads a group, or a lookahead of a single character.
func (p *expressionParser) group() (*step, error) {
	start, fold := p.at, p.fold
	group := &step{kind: branchStep, min: 1, max: 1}
	switch {
	case p.skip("(?i:"):
		p.fold = true
	case p.skip("(?:"):
	case p.skip("(?="):
		group.kind = aheadStep
	case p.skip("(?!"):
		group.kind = notAheadStep
	default:
		if p.skip("(?") || p.skip("(*") {
			p.at = start
			return nil, p.unsupported(p.text[start:])
		}
		p.skip("(")
	}
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("groups are nested too deeply")
	}
	inner, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	text := strings.ToLower(p.text[start:p.at])
	if !p.skip(")") {
		return nil, fmt.Errorf("a group has no end")
	}
	p.depth--
	if p.fold && !fold && !foldsSimply(text) {
		return nil, fmt.Errorf("%q is not supported", p.text[start:p.at])
	}
	p.fold = fold
	if group.kind == branchStep {
		group.inner = inner
		return group, nil
	}
	if len(inner) == 1 && len(inner[0]) == 1 {
		if one := inner[0][0]; one.kind == repeatStep && one.min == 1 && one.max == 1 {
			return &step{kind: group.kind, set: one.set}, nil
		}
	}
	return nil, fmt.Errorf("lookahead %q is not supported", p.text[start:p.at])
}

// members reads a class in brackets or an escape; char is the character if it stands for one, else -1.
func (p *expressionParser) members() (members runeRanges, char rune, err error) {
	if p.skip(`\`) {
		return p.escape()
	}
	if !p.skip("[") {
		members = p.literal()
		return members, members[0].first, nil
	}
	negated := p.skip("^")
	for !p.skip("]") {
		if p.at == len(p.text) || p.text[p.at] == '[' || strings.HasPrefix(p.text[p.at:], "&&") {
			return nil, -1, p.unsupported(p.text[p.at:])
		}
		more, first, err := p.members()
		if err != nil {
			return nil, -1, err
		}
		rest := p.text[p.at:]
		if len(rest) > 1 && rest[0] == '-' && rest[1] != ']' && rest[1] != '[' {
			p.at++
			_, last, err := p.members()
			if err != nil {
				return nil, -1, err
			}
			if first < 0 || last < first {
				return nil, -1, p.unsupported(rest)
			}
			more = runeRanges{{first, last}}
		}
		members = append(members, more...)
	}
	if len(members) == 0 {
		return nil, -1, fmt.Errorf("a class of no character is not supported")
	}
	if negated {
		return members.others(), -1, nil
	}
	return members, -1, nil
}

// escape reads what follows a backslash.
func (p *expressionParser) escape() (members runeRanges, char rune, err error) {
	if p.at == len(p.text) {
		return nil, -1, fmt.Errorf("it ends with a backslash")
	}
	c := p.text[p.at]
	p.at++
	switch {
	case c == 's' || c == 'S':
		members = tableRanges(unicode.White_Space)
	case c == 'd' || c == 'D':
		members = properties["Nd"]()
	case c == 'p' || c == 'P':
		if members, err = p.property(); err != nil {
			return nil, -1, err
		}
	case strings.IndexByte("rnt", c) >= 0:
		char = map[byte]rune{'r': '\r', 'n': '\n', 't': '\t'}[c]
		return runeRanges{{char, char}}, char, nil
	case c < utf8.RuneSelf && c > ' ' && !isWord(rune(c)):
		return runeRanges{{rune(c), rune(c)}}, rune(c), nil
	default:
		p.at -= 2
		return nil, -1, p.unsupported(p.text[p.at : p.at+2])
	}
	if c < 'a' {
		members = members.others()
	}
	return members, -1, nil
}

// property reads the name of a Unicode property.
func (p *expressionParser) property() (runeRanges, error) {
	name, rest, closed := strings.Cut(p.text[p.at:], "}")
	name, opened := strings.CutPrefix(name, "{")
	property, known := properties[name]
	if !opened || !closed || !known {
		return nil, fmt.Errorf("property %q is not supported", name)
	}
	p.at = len(p.text) - len(rest)
	return property(), nil
}
