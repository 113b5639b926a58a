package answer

import (
	"strings"
	"testing"
)

func TestJSONForms(t *testing.T) {
	const (
		pairs = `[{"question": "Which bus?", "answer": "The red one."}, {"q": "Who waits?", "A": "Three people."}]`
		lines = `{"QUESTION": "Which bus?", "Answer": "The red one.", "id": 1}` + "\n" +
			`{"q": "Who waits?", "a": "Three people."}`
		turns = `[{"from": "human", "value": "Which bus?"}, {"from": "GPT", "value": "The red one."},
			{"role": "user", "content": "Who waits?"}, {"role": " assistant ", "content": "Three people."}]`
	)
	read := accepted("json", busTurns...)
	for _, c := range []reads{
		{"pairs", pairs, false, read},
		{"lines", lines, false, read},
		{"turns", turns, false, read},
		{"held pairs", `{"conversations": ` + pairs + `}`, false, read},
		{"held turns", `{"note": "a", "Conversation": ` + turns + `}`, false, read},
		{"under qa", `{"qa": ` + pairs + `}`, false, read},
		{"under pairs", `{"pairs": ` + pairs + `}`, false, read},
		{"under questions", `{"questions": ` + pairs + `}`, false, read},
		{"the second holder", `{"conversation": "none", "pairs": ` + pairs + `}`, false, read},
		{"one held pair", `{"qa": {"q": "Who waits?", "a": "Three people."}}`, false, retried("too_few_turns")},
		{"one pair", `{"q": "Who waits?", "a": "Three people."}`, false, retried("too_few_turns")},
		{"fence", "```json\n" + pairs + "\n```", false, accepted("fence json", busTurns...)},
		{"whole though cut", pairs, true, read},
		{"tidied", strings.ReplaceAll(pairs, "Which", `\u200b\r\n Which`), false, read},
		{"an empty half", strings.Replace(pairs, "]", `, {"q": "", "a": "No."}, {"q": "Why?", "a": " "}]`, 1), false,
			accepted("empty_turn json", busTurns...)},
		{"two questions", strings.Replace(turns, "[", `[{"from": "human", "value": "Hm?"},`, 1), false,
			accepted("json unanswered", busTurns...)},
		{"answer first", strings.Replace(turns, "[", `[{"from": "ai", "value": "Hello."},`, 1), false,
			accepted("json stray_answer", busTurns...)},
		{"nothing but empty halves", `{"q": "", "a": ""}`, false, retried("shape")},
		{"another role", strings.Replace(turns, "[", `[{"from": "tool", "value": "Hello."},`, 1), false,
			retried("shape")},
		{"another element", strings.Replace(pairs, "]", `, 5]`, 1), false, retried("shape")},
		{"half a pair", strings.Replace(pairs, "]", `, {"q": "Why?"}]`, 1), false, retried("shape")},
		{"pairs and turns", strings.Replace(pairs, "]", `, {"role": "user", "content": "Why?"}]`, 1), false,
			retried("shape")},
		{"a turn without text", strings.Replace(turns, "[", `[{"role": "user"},`, 1), false, retried("shape")},
		{"a turn of nobody", strings.Replace(turns, "[", `[{"content": "Hm?"},`, 1), false, retried("shape")},
		{"turns without a list", `{"role": "user", "content": "Why?"}{"role": "ai", "content": "So."}`, false,
			retried("shape")},
		{"numbers", `[{"q": 1, "a": 2}]`, false, retried("shape")},
		{"null", `[{"q": null, "a": null}]`, false, retried("shape")},
		{"an empty list", `[]`, false, retried("shape")},
		{"an empty object", `{}`, false, retried("shape")},
		{"more after the list", pairs + " Bye!", false, retried("shape")},
		{"more after the pairs", lines + " Bye!", false, retried("shape")},
		{"without end", strings.TrimSuffix(pairs, "]"), false, retried("shape")},
		{"cut", strings.TrimSuffix(pairs, "]"), true, retried("truncated")},
	} {
		c.test(t, Conversation)
	}
}

func TestMarkers(t *testing.T) {
	plain := accepted("", busTurns...)
	swap := strings.NewReplacer("Question", "Q", "Answer", "A")
	for _, c := range []reads{
		{"asked form", twice, false, plain},
		{"same line", "question: Which bus?\nANSWER: The red one.\nQuestion: Who waits?\nAnswer: Three people.", false,
			plain},
		{"numbered", "1. **Question:** Which bus?\n**Answer:** The red one.\n" +
			"2) Question 2: Who waits?\n- Answer 2： Three people.", false, plain},
		{"several lines", bus + "\n" + strings.Replace(stop, "people.", "people.\n\n- one\n- two\n\n\n", 1), false,
			accepted("", busTurns[0], Turn{"Who waits?", "Three people.\n\n- one\n- two"})},
		{"Q and A", swap.Replace(twice), false, accepted("markers", busTurns...)},
		{"roles", strings.NewReplacer("Question", "User", "Answer", "AI").Replace(twice), false,
			accepted("markers", busTurns...)},
		{"other roles", strings.NewReplacer("Question", "human", "Answer", "assistant").Replace(twice), false,
			accepted("markers", busTurns...)},
		{"the first family wins", strings.Replace(twice, "red one.", "red one.\nQ: no\nA: no", 1), false,
			accepted("", Turn{"Which bus?", "The red one.\nQ: no\nA: no"}, busTurns[1])},
		{"half a family", swap.Replace(twice) + "\nAnswer: yes", false,
			accepted("markers", busTurns[0], Turn{"Who waits?", "Three people.\nAnswer: yes"})},
		{"no family", "Question: what?\nA: no", false, retried("shape")},
		{"no markers", "The bus is red.", false, retried("shape")},
		{"no markers, cut", "The bus is red.", true, retried("truncated")},
		{"refusal", "I'm sorry, I can't.", false, reject("refusal")},
		{"refusal, cut", "I'm sorry, I can't.", true, reject("refusal")},
		{"refusal and half a form", "I cannot do it.\nQuestion: why?", false, reject("refusal")},
		{"no pair", "Answer: yes\nQuestion: what?", false, retried("shape")},
		{"no pair, cut", "Answer: yes\nQuestion: what?", true, retried("truncated")},
		{"two questions", "Question: Hm?\n" + twice, false, accepted("unanswered", busTurns...)},
		{"a last question", twice + "\n===\nQuestion: Hm?", false, accepted("unanswered", busTurns...)},
		{"two answers", bus + "\nAnswer: Or blue.\n" + stop, false, accepted("stray_answer", busTurns...)},
		{"an answer first", "Answer: No.\n" + twice, false, accepted("stray_answer", busTurns...)},
		{"an empty answer", "Question: Hm?\nAnswer:\n===\n" + twice, false, accepted("empty_turn", busTurns...)},
		{"an empty question", "Question:\n===\nAnswer: Hm.\n===\n" + twice, false, accepted("empty_turn", busTurns...)},
	} {
		c.test(t, Conversation)
	}
}

func TestAroundTurns(t *testing.T) {
	farewell := strings.Repeat("é", 200)
	heading := "Things to do\nOne can sit."
	plain := accepted("", busTurns...)
	for _, c := range []reads{
		{"preamble", "Here you are.\n===\n" + twice, false, accepted("preamble", busTurns...)},
		{"separators", "===\n=====\n" + strings.ReplaceAll(twice, "===", "===\n\n  ====\n===") + "\n===\n===", false,
			plain},
		{"heading", "Question: Hm?\nAnswer: Things to do\n=====\nOne can sit.\n" + bus, false,
			accepted("", Turn{"Hm?", heading}, busTurns[0])},
		{"two signs", bus + "\n==\n" + stop, false, accepted("", Turn{"Which bus?", "The red one.\n=="}, busTurns[1])},
		{"trailer", twice + "\n===\nBye!", false, accepted("trailer", busTurns...)},
		{"trailer in two parts", twice + "\n===\nBye!\n===\nBye!", false, accepted("trailer", busTurns...)},
		{"200 characters", twice + "\n===\n" + farewell, false, accepted("trailer", busTurns...)},
		{"201 characters", twice + "\n===\n" + farewell + "!", false, retried("shape")},
		{"201 characters in lines", twice + "\n===\n" + farewell[:200] + "\n" + farewell[:200], false,
			retried("shape")},
		{"text without separator", twice + "\nBye!", false,
			accepted("", busTurns[0], Turn{"Who waits?", "Three people.\nBye!"})},
		{"rulers", "---\n" + bus + "\n\n***\n---\n\n" + stop + "\n___", false, plain},
		{"ruler in an answer", bus + "\n---\nIt is.\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n---\nIt is."}, busTurns[1])},
		{"short ruler", bus + "\n--\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n--"}, busTurns[1])},
		{"mixed ruler", bus + "\n-*-\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n-*-"}, busTurns[1])},
		{"lines of one character", bus + "\n-\nx\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n-\nx"}, busTurns[1])},
		{"ruler before the trailer", twice + "\n---\n===\nBye!", false, accepted("trailer", busTurns...)},
		{"ruler after a separator", twice + "\n===\n---", false, plain},
		{"ruler before a fence in an answer", bus + "\n---\n```\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n---\n```"}, busTurns[1])},
		{"fence before", "Sure!\n```text\n" + twice, false, accepted("fence preamble", busTurns...)},
		{"fence at the end", twice + "\n```", false, accepted("fence", busTurns...)},
		{"fence after the separator", twice + "\n===\n```\n---", false, accepted("fence", busTurns...)},
		{"fence before the trailer", "Sure!\n```\n" + twice + "\n```\n===\nBye!", false,
			accepted("fence preamble trailer", busTurns...)},
		{"one fence at the end", twice + "\n```\n```", false,
			accepted("fence", busTurns[0], Turn{"Who waits?", "Three people.\n```"})},
		{"fence in an answer", bus + "\n```\ncode\n```\n" + stop, false,
			accepted("", Turn{"Which bus?", "The red one.\n```\ncode\n```"}, busTurns[1])},
	} {
		c.test(t, Conversation)
	}
}

func TestCuts(t *testing.T) {
	third := "\n===\nQuestion:\nAnd then?\n===\nAnswer:\nThey all lea"
	farewell := strings.Repeat("é", 201)
	read := accepted("cut", busTurns...)
	for _, c := range []reads{
		{"in an answer", twice + third, true, read},
		{"in an answer without separators", strings.ReplaceAll(twice+third, "===", ""), true, read},
		{"in a question", twice + "\n===\nQuestion:\nAnd th", true, read},
		{"in a question without separators", strings.ReplaceAll(twice, "===", "") + "\nQuestion:\nAnd th", true, read},
		{"before an answer", twice + "\n===\nQuestion:\nAnd then?\n===", true, read},
		{"in an answer's marker", twice + "\n===\nQuestion:\nAnd then?\n===\nAnsw", true, read},
		{"after a separator", twice + "\n===", true, read},
		{"in a question's marker", twice + "\n===\nQuesti", true, read},
		{"long after a separator", twice + "\n===\n" + farewell, true, read},
		{"in an answer with a heading", twice + strings.Replace(third, "They", "Then\n====\nThey", 1), true,
			accepted("cut", busTurns[0], busTurns[1], Turn{"And then?", "Then"})},
		{"a stray answer", twice + "\n===\nAnswer: no\nAnswer: ye", true, accepted("cut stray_answer", busTurns...)},
		{"in the first answer", bus, true, retried("truncated")},
		{"in the second answer", twice, true, retried("truncated")},
	} {
		c.test(t, Conversation)
	}
}
