package answer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Texts that pass all filters.
const (
	bus   = "Question:\nWhich bus?\n===\nAnswer:\nThe red one."
	stop  = "Question:\nWho waits?\n===\nAnswer:\nThree people."
	twice = bus + "\n===\n" + stop
	// 24 words
	thought = "The man stands on the edge of the roof without a rope, and the tiles are wet, so he could slip and fall."
	// 32 words
	scene = "A wide street lies in the sun. On the left a man sells fruit from a cart, and on the right two " +
		"children sit on the steps of a house and eat apples."
)

// busTurns are what is read from bus and stop.
var busTurns = []Turn{{"Which bus?", "The red one."}, {"Who waits?", "Three people."}}

// reads compares what a text gives with what it should give: of an accepted one its repairs and turns, of any other its
// outcome and reason.
type reads struct {
	name, text string
	cut        bool
	want       Result
}

func accepted(repairs string, turns ...Turn) Result {
	return Result{Accept, "", strings.Fields(repairs), turns}
}

func retried(reason string) Result { return Result{Outcome: Retry, Reason: reason} }

func (r reads) test(t *testing.T, kind Kind) {
	t.Helper()
	got := ReadText(kind, r.text, r.cut, NewFilters(Against{English: true}))
	if diff := cmp.Diff(r.want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s, %s: (-want +got)\n%s", kind, r.name, diff)
	}
}

func TestEnvelope(t *testing.T) {
	good := reply.Reply{Content: scene, Finish: reply.Stop}
	refused, stopped, cut := good, good, good
	refused.Refusal, stopped.Finish, cut.Finish = "No.", reply.Filtered, reply.Length
	for _, c := range []struct {
		reply reply.Reply
		want  Result
	}{
		{good, accepted("", Turn{"", scene})},
		{refused, reject("refusal")},
		{stopped, reject("filtered")},
		{cut, accepted("cut", Turn{"", scene})},
		{reply.Reply{}, retried("empty")},
	} {
		if diff := cmp.Diff(c.want, Read(Detail, c.reply, nil), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v: (-want +got)\n%s", c.reply, diff)
		}
	}
	if got := Read("poem", good, nil); got.Outcome != "" {
		t.Errorf("an unknown kind gives %+v", got)
	}
}

func TestTidy(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		" \t\n \u00a0\n":              "",
		"a\r\nb\rc\n\rd":              "a\nb\nc\n\nd",
		"\n\n  a  \n\n\n\n  b\t\n\n":  "a\n\n  b",
		"a\u200b\u200c\u200d\u2060b":  "ab",
		"\ufeffa\u00adb":              "ab",
		"a\x00\x07\x1b[2Jb\x7f\u0085": "a[2Jb",
		"a\tb":                        "a\tb",
		"a \u200b":                    "a",
		"\u200b a":                    "a",
		"a\xffb":                      "a\ufffdb",
		"a\u2003\n\u3000\nb":          "a\n\nb",
	} {
		if got := tidy(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestUnwrapping(t *testing.T) {
	for _, c := range []reads{
		{"thoughts", "<think>\nQuestion: no\nAnswer: no\n</think>\n" + twice, false, accepted("thinking", busTurns...)},
		{"thoughts in capitals", "<THINK>a</Think>" + twice, false, accepted("thinking", busTurns...)},
		{"long name", "<thinking>a</thinking>" + twice, false, accepted("thinking", busTurns...)},
		{"other name", "<reasoning>a</think></reasoning>" + twice, false, accepted("thinking", busTurns...)},
		{"thoughts without end", "<reasoning>a</think>" + twice, false, retried("truncated")},
		{"only thoughts", "<think>a</think>\n ", false, retried("empty")},
		{"cut after thoughts", "<think>a</think>", true, retried("truncated")},
		{"nothing", "\u200b", false, retried("empty")},
		{"nothing, cut", "", true, retried("truncated")},
		{"fence", "```\n" + twice + "\n```", false, accepted("fence", busTurns...)},
		{"long fence with language", "```` markdown\n" + twice + "\n  ````", false, accepted("fence", busTurns...)},
		{"thoughts and fence", "<think>a</think>```json\n" + twice + "\n```", false,
			accepted("fence thinking", busTurns...)},
		{"empty fence", "```\n```", false, retried("empty")},
		{"thoughts later", twice + "\n<think>", false,
			accepted("", busTurns[0], Turn{"Who waits?", "Three people.\n<think>"})},
	} {
		c.test(t, Conversation)
	}
	for _, c := range []reads{
		{"fence", "```text\n" + scene + "\n```", false, accepted("fence", Turn{"", scene})},
		{"one fence", "```", false, reject("too_short")},
		{"fence with words", "```two words\n" + scene + "\n```", false,
			accepted("", Turn{"", "```two words\n" + scene + "\n```"})},
		{"only the first fence", "```\n" + scene, false, accepted("", Turn{"", "```\n" + scene})},
	} {
		c.test(t, Detail)
	}
}

func TestReasoning(t *testing.T) {
	ask := func(answer string) string { return "Question:\nWhat may happen?\n===\nAnswer:\n" + answer }
	for _, c := range []reads{
		{"asked form", ask(thought), false, accepted("", Turn{"What may happen?", thought})},
		{"first pair", ask(thought) + "\n===\n" + bus, false,
			accepted("extra_turns", Turn{"What may happen?", thought})},
		{"first pair whatever comes", bus + "\n===\n" + ask(thought), false, reject("too_short")},
		{"20 words", ask(numbers(20)), false, accepted("", Turn{"What may happen?", numbers(20)})},
		{"19 words", ask(numbers(19)), false, reject("too_short")},
		{"600 words", ask(numbers(600)), false, accepted("", Turn{"What may happen?", numbers(600)})},
		{"601 words", ask(numbers(601)), false, reject("too_long")},
		{"fault and length", ask("Sorry, I am blind."), false, reject("refusal")},
		{"question with a fault", "Question: Which <image>?\nAnswer: " + thought, false, reject("markup")},
		{"cut", ask(thought), true, retried("truncated")},
		{"cut after it", ask(thought) + "\n===", true, accepted("cut", Turn{"What may happen?", thought})},
		{"cut in the second", ask(thought) + "\n===\n" + bus, true, accepted("cut", Turn{"What may happen?", thought})},
	} {
		c.test(t, Reasoning)
	}
}

// numbers is an English text of n words in which no ten are repeated.
func numbers(n int) string {
	var list []string
	for i := range n {
		word := "the"
		if i%3 > 0 {
			word = "w" + strings.Repeat("x", i/40) + string(rune('a'+i%26))
		}
		list = append(list, word)
	}
	return strings.Join(list, " ")
}

func TestConversations(t *testing.T) {
	pair := func(question, answer string) string { return "\nQuestion: " + question + "\nAnswer: " + answer }
	var many []Turn
	long := ""
	for i := range 14 {
		turn := Turn{fmt.Sprintf("What is number %d?", i), fmt.Sprintf("Number %d is red.", i)}
		many, long = append(many, turn), long+pair(turn.Question, turn.Answer)
	}
	for _, c := range []reads{
		{"two", twice, false, accepted("", busTurns...)},
		{"one", bus, false, retried("too_few_turns")},
		{"one, cut", bus + "\n===", true, retried("truncated")},
		{"a pair with a fault", twice + pair("Who is it?", "As an AI, I cannot say."), false,
			accepted("dropped_turn", busTurns...)},
		{"a question with a fault", twice + pair("Which <image>?", "This one."), false,
			accepted("dropped_turn", busTurns...)},
		{"a long answer", twice + pair("And?", numbers(601)), false, accepted("dropped_turn", busTurns...)},
		{"600 words", bus + pair("And?", numbers(600)), false, accepted("", busTurns[0], Turn{"And?", numbers(600)})},
		{"the first fault counts", bus + pair("And?", "It is <image>.") + pair("And?", "I'm sorry."), false,
			reject("markup")},
		{"a long answer counts", bus + pair("And?", numbers(601)), false, reject("too_long")},
		{"answers before questions", bus + pair("<image>?", "I'm sorry."), false, reject("refusal")},
		{"the same again", twice + pair("which BUS", "the, red; one!"), false, accepted("repeated_turn", busTurns...)},
		{"the same question", twice + pair("Which bus?", "The blue one."), false,
			accepted("", busTurns[0], busTurns[1], Turn{"Which bus?", "The blue one."})},
		{"words on another side", twice + pair("Which bus the?", "Red one."), false,
			accepted("", busTurns[0], busTurns[1], Turn{"Which bus the?", "Red one."})},
		{"only the same", bus + "\n===\n" + bus, false, retried("too_few_turns")},
		{"a fault and the same", bus + "\n===\n" + bus + pair("And?", "It is <image>."), false, reject("markup")},
		{"twelve", strings.Join(strings.SplitAfter(long, "red.")[:12], ""), false, accepted("", many[:12]...)},
		{"fourteen", long, false, accepted("extra_turns", many[:12]...)},
		{"fourteen with a fault", pair("And?", "I'm sorry.") + long, false,
			accepted("dropped_turn extra_turns", many[:12]...)},
	} {
		c.test(t, Conversation)
	}
}

func TestDetails(t *testing.T) {
	turn := Turn{"", scene}
	quoted := strings.ReplaceAll(scene, "fruit", `"fruit"`)
	for _, c := range []reads{
		{"asked form", scene, false, accepted("", turn)},
		{"string", `"` + scene + `"`, false, accepted("json", turn)},
		{"object", `{"id": 5, "description": "` + scene + `", "parts": ["a"]}`, false, accepted("json", turn)},
		{"invisible in JSON", `{"text": "\u200b\r\n` + scene + `\u0000"}`, false, accepted("json", turn)},
		{"object with two", `{"title": "A street", "text": "` + scene + `"}`, false, retried("shape")},
		{"object without", `{"parts": ["` + scene + `"]}`, false, retried("shape")},
		{"empty object", `{"text": ""}`, false, retried("empty")},
		{"list", `["` + scene + `"]`, false, retried("shape")},
		{"broken object", `{"text": "` + scene, false, retried("shape")},
		{"object and more", `{"text": "` + scene + `"} and more`, false, retried("shape")},
		{"chatter", "Sure! Here it is:\n" + scene, false, accepted("preamble", turn)},
		{"only chatter", "Sure! " + scene, false, accepted("", Turn{"", "Sure! " + scene})},
		{"label", "**Detailed description:**\n\n" + scene, false, accepted("label", turn)},
		{"only a label", "Description:", false, retried("empty")},
		{"curly quotes", "“" + scene + "”", false, accepted("quotes", turn)},
		{"quotes over lines", "\"" + scene + "\n\nYes.\"", false, accepted("quotes", Turn{"", scene + "\n\nYes."})},
		{"quotes inside too", `Answer: "` + quoted + `"`, false, accepted("label", Turn{"", `"` + quoted + `"`})},
		{"one quote", "“" + scene, false, accepted("", Turn{"", "“" + scene})},
		{"everything", "Okay.\nDescription: “" + scene + "”", false, accepted("label preamble quotes", turn)},
		{"refusal", "Okay.\nI'm sorry, but I can't.", false, reject("refusal")},
		{"questions", scene + "\n" + bus, false, retried("shape")},
		{"Q", "Q: and?\n" + scene, false, retried("shape")},
		{"answers", scene + "\nA: yes", false, accepted("", Turn{"", scene + "\nA: yes"})},
		{"pairs", `[{"q": "and?", "a": "` + scene + `"}]`, false, retried("shape")},
		{"pairs, cut", `[{"q": "and?", "a": "` + scene + `"}]`, true, retried("shape")},
		{"questions, cut", bus, true, retried("shape")},
		{"cut", scene + " And th", true, accepted("cut", turn)},
		{"cut at the end", scene, true, accepted("cut", turn)},
		{"cut after a quote", scene + " \"Is it!\") And 3.5", true, accepted("cut", Turn{"", scene + " \"Is it!\")"})},
		{"cut after a question", scene + " Yes?\nAnd", true, accepted("cut", Turn{"", scene + " Yes?"})},
		{"cut too early", "Yes. " + strings.TrimSuffix(scene, "."), true, retried("truncated")},
		{"cut without an end", strings.ReplaceAll(scene, ".", ","), true, retried("truncated")},
		{"brackets", "[" + scene, false, retried("shape")},
		{"fault", scene + " See the captions.", false, reject("source")},
		{"fault and length", "See the captions.", false, reject("source")},
		{"30 words", numbers(30), false, accepted("", Turn{"", numbers(30)})},
		{"29 words", numbers(29), false, reject("too_short")},
		{"600 words", numbers(600), false, accepted("", Turn{"", numbers(600)})},
		{"601 words", numbers(601), false, reject("too_long")},
	} {
		c.test(t, Detail)
	}
}
