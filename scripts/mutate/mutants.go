package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	File     string `json:"file"` // slash path from the repository's root
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Operator string `json:"operator"`
	Before   string `json:"before"` // the changed line or lines
	After    string `json:"after"`
}

// candidate is a mutant that may be drawn.
type candidate struct {
	mutant
	source []byte   // the changed file
	rank   [32]byte // the lowest are drawn
}

// Operators.
const (
	comparison = "comparison"
	arithmetic = "arithmetic"
	constant   = "constant"
	logical    = "logical"
	negation   = "negation"
	deletion   = "deletion"
	returned   = "returned"
	increment  = "increment"
)

// swaps are the pairs of Go operators that replace each other.
var swaps = map[token.Token]struct {
	operator string
	to       token.Token
}{
	token.LSS: {comparison, token.LEQ}, token.LEQ: {comparison, token.LSS},
	token.GTR: {comparison, token.GEQ}, token.GEQ: {comparison, token.GTR},
	token.EQL: {comparison, token.NEQ}, token.NEQ: {comparison, token.EQL},
	token.ADD: {arithmetic, token.SUB}, token.SUB: {arithmetic, token.ADD},
	token.MUL: {arithmetic, token.QUO}, token.QUO: {arithmetic, token.MUL},
	token.ADD_ASSIGN: {arithmetic, token.SUB_ASSIGN}, token.SUB_ASSIGN: {arithmetic, token.ADD_ASSIGN},
	token.MUL_ASSIGN: {arithmetic, token.QUO_ASSIGN}, token.QUO_ASSIGN: {arithmetic, token.MUL_ASSIGN},
	token.LAND: {logical, token.LOR}, token.LOR: {logical, token.LAND},
	token.INC: {increment, token.DEC}, token.DEC: {increment, token.INC},
}

// messages are functions whose arguments are text for people, by the last part of their names.
var messages = []string{"Errorf", "New", "BadRow", "Say", "Progress", "Fprintf", "Fprintln", "panic"}

// texts are methods that return text for people.
var texts = []string{"String", "Error"}

// draw lists the candidates of a room in the order of the draw. A candidate's place depends on the seed, the function
// that contains it and its own text, not on its line, so that an edit elsewhere does not change the draw.
func draw(root string, r room) ([]candidate, error) {
	var list []candidate
	for _, base := range r.files {
		text, err := os.ReadFile(filepath.Join(root, r.folder, base))
		if err != nil {
			return nil, err
		}
		found, err := candidates(path.Join(r.folder, base), text)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, func(a, b candidate) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	return list, nil
}

// finder collects the candidates of one file.
type finder struct {
	name     string
	text     []byte
	set      *token.FileSet
	function string // that contains the current node
	seen     map[string]int
	list     []candidate
}

// candidates are all mutants of a file, in source order.
func candidates(name string, text []byte) ([]candidate, error) {
	f := &finder{name: name, text: text, set: token.NewFileSet(), seen: map[string]int{}}
	file, err := parser.ParseFile(f.set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, declared := range file.Decls {
		f.function = ""
		if function, ok := declared.(*ast.FuncDecl); ok {
			f.function = function.Name.Name
			if function.Recv != nil {
				if slices.Contains(texts, f.function) {
					continue
				}
				f.function = f.between(function.Recv.List[0].Type.Pos(), function.Recv.List[0].Type.End()) + "." +
					f.function
			}
		}
		ast.Inspect(declared, f.visit)
	}
	slices.SortStableFunc(f.list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return f.list, nil
}

func (f *finder) offset(p token.Pos) int { return f.set.Position(p).Offset }

func (f *finder) between(from, to token.Pos) string {
	return string(f.text[f.offset(from):f.offset(to)])
}

// visit records the mutants of a node and reports whether its children are to be visited.
func (f *finder) visit(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.Field: // no tags, and no lengths of arrays in types
		return false
	case *ast.BinaryExpr:
		f.swap(n.OpPos, n.Op, hasText(n))
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			f.replace(deletion, n.Pos(), n.End(), "")
		}
		f.swap(n.TokPos, n.Tok, slices.ContainsFunc(n.Rhs, hasText))
	case *ast.IncDecStmt:
		f.swap(n.TokPos, n.Tok, false)
	case *ast.BasicLit:
		f.count(n)
	case *ast.IfStmt:
		f.negate(n.Cond)
	case *ast.ForStmt:
		f.negate(n.Cond)
	case *ast.ReturnStmt:
		f.results(n)
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && called(call) != "panic" {
			f.replace(deletion, n.Pos(), n.End(), "")
		}
	case *ast.CallExpr:
		return f.arguments(n)
	}
	return true
}

// swap records the other operator. A + that joins strings has none: - does not build.
func (f *finder) swap(at token.Pos, op token.Token, text bool) {
	if to, ok := swaps[op]; ok && !(text && to.operator == arithmetic) {
		f.replace(to.operator, at, at+token.Pos(len(op.String())), to.to.String())
	}
}

// hasText reports whether an expression joins a string literal.
func hasText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.BinaryExpr:
		return e.Op == token.ADD && (hasText(e.X) || hasText(e.Y))
	}
	return false
}

// count records an integer plus 1. Octal numbers are file modes, of which tests see only what the umask leaves.
func (f *finder) count(n *ast.BasicLit) {
	if n.Kind != token.INT || strings.HasPrefix(n.Value, "0o") {
		return
	}
	if value, err := strconv.ParseUint(n.Value, 0, 63); err == nil {
		f.replace(constant, n.Pos(), n.End(), strconv.FormatUint(value+1, 10))
	}
}

// negate records a condition's negation. For == and != it is already recorded as a comparison.
func (f *finder) negate(condition ast.Expr) {
	if condition == nil {
		return
	}
	if b, ok := condition.(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.NEQ) {
		return
	}
	f.replace(negation, condition.Pos(), condition.End(), "!("+f.between(condition.Pos(), condition.End())+")")
}

func (f *finder) results(n *ast.ReturnStmt) {
	other := map[string]string{"true": "false", "false": "true"}
	for _, result := range n.Results {
		if name, ok := result.(*ast.Ident); ok && other[name.Name] != "" {
			f.replace(returned, name.Pos(), name.End(), other[name.Name])
		}
	}
}

// arguments reports whether a call's arguments are to be visited like other code. For make, it visits the length
// itself.
func (f *finder) arguments(n *ast.CallExpr) bool {
	switch name := called(n); {
	case slices.Contains(messages, name):
		return false
	case name == "make" && len(n.Args) == 3: // a capacity
		ast.Inspect(n.Args[1], f.visit)
		return false
	}
	return true
}

// called is the last part of the name of the called function.
func called(n *ast.CallExpr) string {
	switch function := n.Fun.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		return function.Sel.Name
	}
	return ""
}

// replace records the mutant that has different text between two positions.
func (f *finder) replace(operator string, from, to token.Pos, with string) {
	begin, end := f.offset(from), f.offset(to)
	first := bytes.LastIndexByte(f.text[:begin], '\n') + 1
	last := len(f.text)
	if i := bytes.IndexByte(f.text[end:], '\n'); i >= 0 {
		last = end + i
	}
	before := strings.TrimSpace(string(f.text[first:last]))
	after := strings.TrimSpace(string(f.text[first:begin]) + with + string(f.text[end:last]))
	source := slices.Concat(f.text[:begin], []byte(with), f.text[end:])
	at := f.set.Position(from)
	identity := fmt.Sprintf("%d %s %s %s %q %q", seed, f.name, f.function, operator, f.text[begin:end], after)
	f.seen[identity]++
	rank := sha256.Sum256(fmt.Appendf(nil, "%s %d", identity, f.seen[identity]))
	f.list = append(f.list, candidate{mutant{f.name, at.Line, at.Column, operator, before, after}, source, rank})
}
