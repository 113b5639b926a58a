package rule

import (
	"math"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// The contractions of VQA's evaluator are 120 and a few that change nothing; each is a word that gains apostrophes.
func TestContractionsGainApostrophesOnly(t *testing.T) {
	if len(contractions) < 118 || len(contractions) > 124 {
		t.Errorf("%d contractions", len(contractions))
	}
	for word, is := range contractions {
		if strings.ReplaceAll(word, "'", "") != strings.ReplaceAll(is, "'", "") {
			t.Errorf("%q becomes %q", word, is)
		}
	}
	for word, want := range map[string]string{"dont": "don't", "shouldve": "should've", "whyll": "why'll",
		"ain't": "ain't", "y'alld've": "y'all'd've", "somebody'd": "somebodyd", "hows": "how's", "im": "im"} {
		if got := Official(word); got != want {
			t.Errorf("%q becomes %q, want %q", word, got, want)
		}
	}
}

func TestConsensus(t *testing.T) {
	yes := strings.Split(strings.Repeat("yes ", 9)+"yes", " ")
	mixed := append(strings.Split("yes no no no a b c d e", " "), "Yes")
	for _, c := range []struct {
		prediction string
		people     []string
		official   float64
		m4c        float64
	}{
		{"yes", yes, 1, 1}, {"Yes", yes, 0, 1}, {"yes\n", yes, 1, 1}, {"no", yes, 0, 0},
		{"no", mixed, (7*1 + 3*2.0/3) / 10, (7*1 + 3*2.0/3) / 10},
		{"YES", mixed, (8*2.0/3 + 2*1.0/3) / 10, (8*2.0/3 + 2*1.0/3) / 10},
		{"yes", nil, 0, 0},
	} {
		if got := OfficialConsensus(c.prediction, c.people); !near(got, c.official) {
			t.Errorf("official %q: %v, want %v", c.prediction, got, c.official)
		}
		if got := NormalConsensus(c.prediction, c.people, M4C); !near(got, c.m4c) {
			t.Errorf("m4c %q: %v, want %v", c.prediction, got, c.m4c)
		}
	}
}

func TestFloat(t *testing.T) {
	for s, want := range map[string]float64{"1": 1, " 1.5\n": 1.5, "1_000": 1000, "1e3": 1000, "-.5": -.5, "٣": 3,
		"１２.５": 12.5,
		"inf":  math.Inf(1), "-Infinity": math.Inf(-1), "1e999": math.Inf(1), "5.": 5, "+2": 2} {
		if got, ok := float(s); !ok || got != want {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	if x, ok := float("NaN"); !ok || !math.IsNaN(x) {
		t.Errorf("nan: %v, %v", x, ok)
	}
	for _, s := range []string{"", "1,200", "0x10", "1_", "_1", "1__0", "1 2", "$5", "one", "½", "--1", "1e", "0b1",
		"0x1p-2", "1_.5", "1e_5"} {
		if x, ok := float(s); ok {
			t.Errorf("%q is read as %v", s, x)
		}
	}
}

func TestRelaxed(t *testing.T) {
	for _, c := range []struct {
		prediction, target string
		want               bool
	}{{"105", "100", true}, {"95", "100", true}, {"105.1", "100", false}, {"0", "0", true}, {"0.0", "0", false},
		{"45%", "45", false}, {"45%", "45%", true}, {"0.45", "45%", true}, {"YES ", "yes", true}, {"1,200", "1200",
			false},
		{"-100", "-104", true}, {"nan", "5", false}} {
		if got := Relaxed(c.prediction, c.target); got != c.want {
			t.Errorf("%q against %q: %v", c.prediction, c.target, got)
		}
	}
}

func TestANLS(t *testing.T) {
	for _, c := range []struct {
		prediction string
		answers    []string
		lmms       float64
		vlmeval    float64
	}{{"cat", []string{"dog", "Cat"}, 1, 1}, {"a  b", []string{"A b"}, 1, 1}, {"cat", []string{"cart"}, .75, .75},
		{"dog", []string{"cat"}, 0, 0}, {"", []string{""}, 1, 1}, {"", []string{"a"}, 0, 0}, {"x", nil, 0, 0},
		{" ab ", []string{"ac"}, .5, .75}, {"日本", []string{"日木"}, .5, .5}, {"ß", []string{"s"}, .5, .5}} {
		if got := ANLS(c.prediction, c.answers); !near(got, c.lmms) {
			t.Errorf("%q in %q: %v, want %v", c.prediction, c.answers, got, c.lmms)
		}
		if got := ANLSOfVLMEval(c.prediction, c.answers); !near(got, c.vlmeval) {
			t.Errorf("%q in %q by VLMEvalKit: %v, want %v", c.prediction, c.answers, got, c.vlmeval)
		}
	}
}

func TestYesAndNo(t *testing.T) {
	for _, c := range []struct {
		answer      string
		pope, exact YesNo
		mme, lmms   YesNo
	}{
		{answer: "Yes", pope: Yes, exact: Yes, mme: Yes, lmms: Yes},
		{answer: "no", pope: No, exact: No, mme: No, lmms: No},
		{answer: " No\n", pope: Yes, exact: No, mme: No, lmms: No},
		{answer: "NO", pope: Yes, exact: No, mme: No, lmms: No},
		{answer: "", pope: Yes},
		{answer: "Nope", pope: Yes, mme: No, lmms: No},
		{answer: "know", pope: Yes, mme: No, lmms: No},
		{answer: "noon", pope: Yes, mme: No, lmms: No},
		{answer: "It is. No", pope: Yes},
		{answer: "There is, not", pope: No},
		{answer: "y.", pope: Yes, lmms: Yes},
		{answer: "N", pope: Yes, lmms: No},
		{answer: "\tyes", pope: Yes, exact: Yes, mme: Yes, lmms: Yes},
	} {
		if POPE(c.answer) != c.pope || Exact(c.answer) != c.exact || MME(c.answer) != c.mme ||
			MMEOfLMMS(c.answer) != c.lmms {
			t.Errorf("%q: %q %q %q %q, want %+v", c.answer, POPE(c.answer), Exact(c.answer), MME(c.answer),
				MMEOfLMMS(c.answer), c)
		}
	}
}

func TestLetters(t *testing.T) {
	for answer, want := range map[string]string{"A": "A", "F": "", "B. cat": "B", "B.": "", "B.cat": "", "a": "",
		"The answer is C.": "C", "The answer is C": "", "The answer is C. The answer is D.": "", "F. cat": "F",
		"So: The answer is Z!": "Z", "": ""} {
		if got := ScienceQA(answer); got != want {
			t.Errorf("ScienceQA, %q: %q, want %q", answer, got, want)
		}
	}
	for answer, want := range map[string]string{"c": "C", "C.": "C", "B. x": "B", "b. x": "", " C\n": "C", "(C)": ""} {
		if got := ScienceQAOfLMMS(answer, "C"); got != want {
			t.Errorf("lmms ScienceQA, %q: %q, want %q", answer, got, want)
		}
	}
	for answer, want := range map[string]string{"B. cat": "b", "B": "b", " (B) ": "b", "cat!": "cat", "": ""} {
		if got := AI2D(answer); got != want {
			t.Errorf("AI2D, %q: %q, want %q", answer, got, want)
		}
	}
	for answer, want := range map[string]string{"A.'": "A", "is it B.'": "B", "I pick C, as D is wrong.": "D",
		"The choice is C": "C", "option is A ,or B.D": "D",
		"정답은 B 입니다": "B", "x": "", "(B) or C)": "B", "So A: or B) it is": "A", "ABBA": "A", "BA, not": "A"} {
		if got := LetterByForm(answer, "ABCD"); got != want {
			t.Errorf("by form, %q: %q, want %q", answer, got, want)
		}
	}
	cats := Options([]string{"a cat", "dog", "bird"})
	for answer, want := range map[string]string{"B": "B", "It is A bird": "C", "not A , B": "B", "(C)": "C",
		"it is (A).": "A",
		"a dog":      "B", "a cat and a dog": "", "the letter B,": "B", "**C**": "C", "F": ""} {
		if got := LetterByWord(answer, cats); got != want {
			t.Errorf("by word, %q: %q, want %q", answer, got, want)
		}
	}
	for answer, want := range map[string]string{"B": "B", "#B": "B", "A or B": "", "The answer is **B**, not A": "B",
		"the answer is F": "", "B is what the answer seems to be": "", "Cannot determine the answer": "Z", "a dog": "B",
		"It is a dog, and a very, very, very long one it is": "", "The answer " +
			"is bad": "B", "ANSWER  is\n**c": "C", "the answer is D": "", "Failed to obtain answer via API B": ""} {
		if got := InferredLetter(answer, cats); got != want {
			t.Errorf("inferred, %q: %q, want %q", answer, got, want)
		}
	}
	if First("日本") != "日" || First("") != "" || Plain("No..") != "no" || PlainOfLMMS("No, it's.") != "no its" {
		t.Error("the simple rules differ")
	}
	if Sentence("what IS this?") != "What is this?" || Sentence("") != "" {
		t.Error("sentences differ")
	}
}

func TestScoresOfJudges(t *testing.T) {
	for _, c := range []struct {
		reply    string
		original bool
		lmms     bool
		a, b     float64
	}{
		{"8 9\nbecause", true, true, 8, 9}, {"8,9", true, true, 8, 9}, {"8, 9", false, true, 8, 9},
		{"8 9 ", false, true, 8, 9}, {"Score: 8 9", false, true, 8, 9}, {"8.5 7", true, true, 8.5, 7}, {"9\n8", false,
			false, 0, 0},
		{"", false, false, 0, 0}, {"I cannot judge.", false, false, 0, 0},
	} {
		a, b, ok := Pair(c.reply)
		if ok != c.original || ok && (a != c.a || b != c.b) {
			t.Errorf("%q by the original: %v %v %v", c.reply, a, b, ok)
		}
		a, b, ok = PairOfLMMS(c.reply)
		if ok != c.lmms || ok && (a != c.a || b != c.b) {
			t.Errorf("%q by lmms-eval: %v %v %v", c.reply, a, b, ok)
		}
	}
	for reply, want := range map[string]float64{"0.9 because": .9, "1": 1, "0.0": 0, "0.4\n": .4} {
		if got, ok := Correctness(reply); !ok || got != want {
			t.Errorf("%q: %v %v", reply, got, ok)
		}
	}
	for _, reply := range []string{"", "1.1", "-0.1", "nan", "Score 1", "0.5."} {
		if got, ok := Correctness(reply); ok {
			t.Errorf("%q: %v", reply, got)
		}
	}
}

// Numbers are compared as numbers, text is looked for.
func TestOpen(t *testing.T) {
	for _, c := range []struct {
		answer string
		gold   string
		want   bool
	}{{"The result is 1,200.", "1200", true}, {"so 3.144", "3.14", true}, {"3.1", "3.14", false}, {"f", "f", true},
		{"of", "f", false}, {"it is f x", "f", true}, {"a parallel line", "parallel", true}, {"x = 5", "5", true},
		{"2,000日", "2", false}, {"it is 2,000,000日", "2000", true}, {"nan", "nan", false}, {"inf", "inf",
			true}, {"anything", "nan", false}, {"", "5", false}} {
		if got := OpenIsRight(Open(c.answer), []string{c.gold}); got != c.want {
			t.Errorf("%q against %q: %v, read as %v", c.answer, c.gold, got, Open(c.answer))
		}
	}
	for _, c := range []struct {
		number float64
		want   string
	}{{5, "5.0"}, {1e16, "1e+16"}, {0, "0.0"}, {12.5, "12.5"}, {math.Inf(-1), "-inf"}, {math.NaN(), "nan"}} {
		if got := (Item{Number: c.number, IsNumber: true}).String(); got != c.want {
			t.Errorf("%v is %q, want %q", c.number, got, c.want)
		}
	}
}

func TestPythonList(t *testing.T) {
	for text, want := range map[string]string{`[]`: "", `['a', "it's"]`: "a|it's", `['a\n\'b\'',]`: "a\n'b'",
		` [ 'x' , 'y' ] `: "x|y", `['\x41\u00e9\U0001F600']`: "Aé😀", `['\q']`: `\q`, `['日本']`: "日本"} {
		got, err := PythonList(text)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "['a'", "['a' 'b']", "['a]", "[a]", `['\x4']`, `['a\']`} {
		if got, err := PythonList(text); err == nil {
			t.Errorf("%s is read as %q", text, got)
		}
	}
}

// Whatever an answer is, every rule gives a result, and fractions lie between 0 and 1.
func TestRulesTakeAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		answer := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-E(). ,'a-z0-9\n=]*`)).Draw(r, "answer")
		other := rapid.String().Draw(r, "other")
		options := Options([]string{other, "cat", "", "x = 2"})
		Choice(answer, options)
		ChoiceOfLMMS(answer, options)
		InferredLetter(answer, options)
		LetterByForm(answer, "ABCD")
		OpenIsRight(Open(answer), []string{other})
		ScienceQA(answer)
		AI2D(answer)
		Relaxed(answer, other)
		Relaxed(other, answer)
		PythonList(answer)
		Pair(answer)
		PairOfLMMS(answer)
		if x := ANLS(answer, []string{other}); x < 0 || x > 1 {
			r.Errorf("ANLS %v", x)
		}
		if x := ANLS(answer, []string{answer}); strings.ToValidUTF8(answer, "") == answer && x != 1 {
			r.Errorf("ANLS with itself %v", x)
		}
		once := M4C(answer)
		if strings.ContainsFunc(once, unicode.IsUpper) && !strings.ContainsFunc(answer,
			func(r rune) bool { return r > 127 }) {
			r.Errorf("%q is not lower case", once)
		}
	})
}

func FuzzRules(f *testing.F) {
	f.Add("The answer is (A) or 1,200e3.", "['a', \"b\"]")
	f.Fuzz(func(t *testing.T, answer, list string) {
		Open(answer)
		LetterByForm(answer, "ABCDE")
		M4C(answer)
		if texts, err := PythonList(list); err == nil {
			InferredLetter(answer, Options(texts))
			Choice(answer, Options(texts))
		}
	})
}
