package recipes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a recipe.
type Problem struct {
	Source  string // the file as given to Load, or "--set KEY"
	Line    int    // in the file, from 1; 0 if the problem has no line
	Path    string // dotted key as the user wrote it, "" for the whole file
	Message string
}

// Problems is everything that is wrong with a recipe, ordered by line, --set last.
type Problems []Problem

// maxShown is the number of problems that Error prints at most.
const maxShown = 50

// Error has a line for each problem: "recipe.yaml:12: pretrain.batch.globl: unknown key; did you mean "global"?".
func (p Problems) Error() string {
	var b strings.Builder
	for i, problem := range p[:min(len(p), maxShown)] {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(problem.String())
	}
	if more := len(p) - maxShown; more > 0 {
		fmt.Fprintf(&b, "\nand %d more", more)
	}
	return b.String()
}

func (p Problem) String() string {
	where := p.Source
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	if p.Path == "" || p.Source == "--set "+p.Path {
		return where + ": " + p.Message
	}
	return where + ": " + p.Path + ": " + p.Message
}

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Line, b.Line))
	})
	return p
}

func (p Problem) rank() int {
	if strings.HasPrefix(p.Source, "--set") {
		return 1
	}
	return 0
}

// nearest is the candidate with the fewest edits from word, "" if none is close.
func nearest(word string, candidates []string) string {
	best, least := "", (len(word)+2)/3+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b (the optimal
// string alignment distance).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j]+change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// quoted prepares untrusted text for a message: quoted, escaped and shortened.
func quoted(text string) string {
	const longest = 60
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest]) + "…"
	}
	return strconv.Quote(text)
}

// oneLine reports whether text is valid in a recipe: UTF-8 without control characters.
func oneLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
