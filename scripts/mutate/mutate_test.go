package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// found lists a file's mutants as "operator: the changed line".
func found(t *testing.T, body string) (list []string) {
	t.Helper()
	all, err := candidates("p/f.go", []byte("package p\n\n"+body))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		list = append(list, c.Operator+": "+c.After)
	}
	return list
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"comparisons", "var a = b < c\nvar d = e >= f\nvar g = h != i",
			[]string{"comparison: var a = b <= c", "comparison: var d = e > f", "comparison: var g = h == i"}},
		{"arithmetic", "var a = b*c - d/e",
			[]string{"arithmetic: var a = b/c - d/e", "arithmetic: var a = b*c + d/e",
				"arithmetic: var a = b*c - d*e"}},
		{"logic", "var a = b && c || d",
			[]string{"logical: var a = b || c || d", "logical: var a = b && c && d"}},
		{"constants", "const a = 0\nvar b = 0x10", []string{"constant: const a = 1", "constant: var b = 17"}},
		{"conditions", "func f() {\n\tif a(b) {\n\t}\n\tfor c {\n\t}\n}",
			[]string{"negation: if !(a(b)) {", "negation: for !(c) {"}},
		{"equality has one contrary", "func f() {\n\tif a == b {\n\t}\n}", []string{"comparison: if a != b {"}},
		{"statements", "func f() {\n\ta = b\n\tc.d(e)\n\tg := a\n}", []string{"deletion: ", "deletion: "}},
		{"assignments in place", "func f() {\n\ta += b\n}", []string{"deletion: ", "arithmetic: a -= b"}},
		{"steps", "func f() {\n\ta++\n}", []string{"increment: a--"}},
		{"results", "func f() (bool, bool) {\n\treturn true, a\n}", []string{"returned: return false, a"}},
		{"texts are no sums", "var a = b + \"c\" + d", nil},
		{"messages", "var a = fmt.Errorf(\"%d\", b+1)", nil},
		{"a message that is left out", "func f() {\n\treport.Say(b + c)\n}", []string{"deletion: "}},
		{"panics", "func f() {\n\tpanic(a + b)\n}", nil},
		{"String", "func (t T) String() string {\n\treturn a(1)\n}", nil},
		{"file modes", "var a = f(0o777)", nil},
		{"capacities", "var a = make(T, b-c, 4)", []string{"arithmetic: var a = make(T, b+c, 4)"}},
		{"types and imports", "import \"a\"\n\ntype T struct {\n\ta [4]int `json:\"b\"`\n}\n", nil},
	} {
		if diff := cmp.Diff(c.want, found(t, c.body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestAMutantIsTheFileWithOneChange(t *testing.T) {
	const text = "package p\n\nvar a = b < c // and more\n"
	all, err := candidates("p/f.go", []byte(text))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d candidates, %v", len(all), err)
	}
	want := mutant{"p/f.go", 3, 11, comparison, "var a = b < c // and more", "var a = b <= c // and more"}
	if all[0].mutant != want {
		t.Errorf("got %+v, want %+v", all[0].mutant, want)
	}
	if want := strings.Replace(text, "<", "<=", 1); string(all[0].source) != want {
		t.Errorf("the changed file is %q", all[0].source)
	}
}

// small is a module with one package, sums, whose tests know Sum and the sign of Sign but no more.
var small = map[string]string{
	"go.mod": "module small\n\ngo 1.26\n",
	"sums/sums.go": `package sums

func Sum(n int) (sum int) {
	for n > 0 {
		sum += n
		n--
	}
	return sum
}

func Sign(n int) int {
	m := n
	_ = m
	if n < 0 {
		return -1
	}
	return 1
}
`,
	"sums/sums_test.go": `package sums

import "testing"

func TestSum(t *testing.T) {
	if Sum(3) != 6 || Sign(4) < 0 || Sign(-4) > 0 {
		t.Fatal()
	}
}
`,
}

// The room has one mutant fewer than candidates: one does not build.
var sums = room{"sums", true, 11, []string{"sums.go"}}

func writeSmall(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range small {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// runSmall tests the mutants of a small module that have no result yet, and gives all results.
func runSmall(t *testing.T, root, path string) (verdicts map[string]outcome, report string) {
	t.Helper()
	known, err := openResults(path)
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	var out strings.Builder
	if err := sums.run(context.Background(), root, known, 3*time.Second, &out); err != nil {
		t.Fatal(err)
	}
	verdicts = map[string]outcome{}
	for m, verdict := range known.known {
		verdicts[m.Operator+": "+m.Before+" | "+m.After] = verdict
	}
	return verdicts, out.String()
}

// Mutants are killed, survive, do not end or do not build, and a second run tests only those that have no result.
func TestEveryOutcome(t *testing.T) {
	root, path := writeSmall(t), filepath.Join(t.TempDir(), "results.jsonl")
	want := map[string]outcome{
		"comparison: for n > 0 { | for n >= 0 {": survived, // n = 0 adds nothing
		"constant: for n > 0 { | for n > 1 {":    killed,
		"negation: for n > 0 { | for !(n > 0) {": killed,
		"deletion: sum += n | ":                  killed,
		"arithmetic: sum += n | sum -= n":        killed,
		"increment: n-- | n++":                   timeout,
		"deletion: _ = m | ":                     doesNotBuild,
		"comparison: if n < 0 { | if n <= 0 {":   survived,
		"constant: if n < 0 { | if n < 1 {":      survived,
		"negation: if n < 0 { | if !(n < 0) {":   killed,
		"constant: return -1 | return -2":        survived,
		"constant: return 1 | return 2":          survived,
	}
	got, report := runSmall(t, root, path)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	counts := "12 candidates, 1 did not build; of 11 tested 5 killed, 1 timed out, 5 survived\n"
	if !strings.Contains(report, counts) ||
		!strings.Contains(report, "survivor sums/sums.go:14:7 comparison\n\t- if n < 0 {\n\t+ if n <= 0 {\n") {
		t.Errorf("report:\n%s", report)
	}
	for name, text := range small {
		if now, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(now) != text {
			t.Errorf("%s was changed: %v", name, err)
		}
	}

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(text)))
	torn := strings.Join(lines[:10], "") + lines[10][:20]
	if err := os.WriteFile(path, []byte(torn), 0o666); err != nil {
		t.Fatal(err)
	}
	again, report := runSmall(t, root, path)
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("after continuing (-want +got):\n%s", diff)
	}
	if n := strings.Count(report, "\n") - strings.Count(report, "survivor")*3 - 1; n != 2 {
		t.Errorf("%d mutants were tested, but 2 had no result:\n%s", n, report)
	}
}

func TestTestsMustPassBeforeAnythingIsChanged(t *testing.T) {
	root := writeSmall(t)
	broken := strings.Replace(small["sums/sums_test.go"], "!= 6", "!= 7", 1)
	if err := os.WriteFile(filepath.Join(root, "sums/sums_test.go"), []byte(broken), 0o666); err != nil {
		t.Fatal(err)
	}
	known, err := openResults(filepath.Join(t.TempDir(), "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	err = sums.run(context.Background(), root, known, limit, &strings.Builder{})
	if err == nil || !strings.Contains(err.Error(), "the tests must pass") || len(known.known) > 0 {
		t.Errorf("%d results, %v", len(known.known), err)
	}
}

func TestAnInterruptedMutantHasNoResult(t *testing.T) {
	root := writeSmall(t)
	known, err := openResults(filepath.Join(t.TempDir(), "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = sums.run(ctx, root, known, limit, &strings.Builder{})
	if !errors.Is(err, context.Canceled) || len(known.known) > 0 {
		t.Errorf("%d results, %v", len(known.known), err)
	}
}

// The draw stays the same when lines are added above or other functions change.
func TestTheDrawDoesNotDependOnOtherCode(t *testing.T) {
	root := writeSmall(t)
	of := func(function string) (list []string) {
		drawn, err := draw(root, sums)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range drawn {
			if strings.Contains(function, c.Before) {
				list = append(list, c.After)
			}
		}
		return list
	}
	text := small["sums/sums.go"]
	sign := text[strings.Index(text, "func Sign"):]
	before := of(sign)
	text = strings.Replace(text, "func Sum", "// Sum adds.\nfunc Sum", 1)
	text = strings.Replace(text, "\treturn sum", "\tif sum == 17 {\n\t\tsum *= 2\n\t}\n\treturn sum", 1)
	if err := os.WriteFile(filepath.Join(root, "sums/sums.go"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, of(sign)); diff != "" || len(before) != 6 {
		t.Errorf("the draw has changed (-before +after):\n%s", diff)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	tests := trial{work: t.TempDir()}
	// The limit is set when the program runs already.
	text, err := tests.command(context.Background(), ".", "sh", "-c", "sleep 1; ulimit -d")
	if want := fmt.Sprintln(memory / 1024); err != nil || string(text) != want {
		t.Errorf("%q kilobytes, %v, want %s", text, err, want)
	}
}

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil || len(all) != len(rooms) {
		t.Errorf("%d rooms, %v", len(all), err)
	}
	some, err := choose([]string{"loss", "data"})
	if err != nil || len(some) != 2 || some[0].folder != "loss" || some[1].folder != "data" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := choose([]string{"lost"}); err == nil || !strings.Contains(err.Error(), `"lost"`) {
		t.Errorf("%v", err)
	}
}

// The table names files that exist, and half of the mutants are in rooms without cgo.
func TestRooms(t *testing.T) {
	pure, all := 0, 0
	for _, r := range rooms {
		list, err := draw(filepath.Join("..", ".."), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < r.mutants {
			t.Errorf("%s has %d candidates for %d mutants", r.folder, len(list), r.mutants)
		}
		all += r.mutants
		if r.pure {
			pure += r.mutants
		}
	}
	if all < 200 || 2*pure < all {
		t.Errorf("%d mutants, %d of them in rooms without cgo", all, pure)
	}
}
