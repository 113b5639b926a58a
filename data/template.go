package data

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Template is how a conversation is written out for a language model, and which parts of it are trained. A conversation
// is
//
//	first question header lead answer close · next question header lead answer close · … · tail
//
// with final after the last header as well. The strings are those of the original's training code (haotian-liu/LLaVA:
// llava/conversation.py, llava/train/train.py), or of the chat template in a family's tokenizer_config.json.
type Template struct {
	Name    string
	aliases []string

	begin     string    // the special token before everything, also if the tokenizer adds none by itself
	system    string    // the part of first that a row's own system message replaces; "" if it cannot have one
	first     []span    // before the first question
	next      []span    // before each later one
	header    []span    // after a question; generation starts after it
	final     string    // after the last header: line breaks at the start of the answer there are removed
	lead      string    // before the answer, trained: its space becomes part of the answer's first token
	close     string    // after an answer, trained
	tail      string    // after the last round, trained
	stop      string    // the text that ends a generated answer
	stopToken bool      // stop must be a special token, or the model could not learn to stop
	image     [2]string // around <image>
	reserved  string    // where the original cuts a round in two: the original loses rows with it in a turn's text

	// trim: white space around a turn is removed.
	trim bool

	// caption: a row is one image and one caption, and the question is ignored.
	caption bool
}

// span is a stretch of a conversation's text.
type span struct {
	text    string
	trained bool
	typed   bool // by someone who is not trusted: special tokens and <image> in it are text
}

func untrained(text string) []span { return []span{{text: text}} }

const (
	userSystem = "A chat between a curious user and an artificial intelligence assistant. " +
		"The assistant gives helpful, detailed, and polite answers to the user's questions."
	humanSystem = "A chat between a curious human and an artificial intelligence assistant. " +
		"The assistant gives helpful, detailed, and polite answers to the human's questions."
	tagSystem = "A chat between a curious user and an artificial intelligence assistant. " +
		"The assistant is able to understand the visual content that the user provides, " +
		"and assist the user with a variety of tasks using natural language." +
		"The visual content will be provided with the following format: <Image>visual content</Image>."
	visionSystem = "You are a helpful language and vision assistant. " +
		"You are able to understand the visual content that the user provides, " +
		"and assist the user with a variety of tasks using natural language."
	safetySystem = "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, " +
		"while being safe.  " +
		"Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, " +
		"or illegal content. " +
		"Please ensure that your responses are socially unbiased and positive in nature.\n\n" +
		"If a question does not make any sense, or is not factually coherent, " +
		"explain why instead of answering something not correct. " +
		"If you don't know the answer to a question, please don't share false information."
)

// templates is the table of all templates. The original's v0 and default differ from llava_v0 only by an example
// conversation that its training never sees, so here they are aliases of it.
var templates = []Template{
	{Name: "plain", aliases: []string{"v0_plain"}, close: "\n", stop: "\n", caption: true},
	vicuna("vicuna_v1", userSystem, "v1"),
	vicuna("llava_v1", humanSystem),
	tagged(vicuna("v1_mmtag", tagSystem)),
	hashes("llava_v0", humanSystem, "v0", "default"),
	tagged(hashes("v0_mmtag", tagSystem)),
	llama2("llama_2", safetySystem, "<s>"),
	llama2("llava_llama_2", visionSystem, "<s>"),
	llama2("mistral_instruct", "", ""),
	chatML("mpt", "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and "+
		"honest answers."),
	chatML("chatml_direct", "Answer the questions.", "mistral_direct"),
	llama3("llama_3", ""),
	llama3("llama_3_1", llama3Header("system")+"Cutting Knowledge Date: December 2023\nToday Date: "+
		"26 Jul 2024\n\n<|eot_id|>"),
	qwen("qwen_2", "You are a helpful assistant."),
	qwen("qwen_2_5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
	qwen3("qwen_3"),
	qwen("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
	phi3("phi_3"),
}

// vicuna is the original's separator style TWO.
func vicuna(name, system string, aliases ...string) Template {
	return Template{
		Name: name, aliases: aliases, system: system,
		first:  untrained(system + " USER: "),
		next:   untrained("USER: "),
		header: untrained(" ASSISTANT:"),
		lead:   " ", close: "</s>", stop: "</s>", stopToken: true,
		reserved: " ASSISTANT: ",
	}
}

// hashes is the original's fallback layout (style SINGLE). It trains the assistant's header and each ### as well: they
// are how such a model ends an answer.
func hashes(name, system string, aliases ...string) Template {
	return Template{
		Name: name, aliases: aliases, system: system,
		first:  []span{{text: system + "\n\n"}, {text: "###", trained: true}, {text: " Human: "}},
		next:   []span{{text: "###", trained: true}, {text: " Human: "}},
		header: []span{{text: "\n"}, {text: "### Assistant:", trained: true}},
		lead:   " ", close: "\n", tail: "### ", stop: "###",
	}
}

// llama2 is style LLAMA_2; rounds after the first start with separator.
func llama2(name, system, separator string) Template {
	return Template{
		Name: name, system: system,
		first:  untrained("[INST] " + systemBlock(system)),
		next:   untrained(separator + "[INST] "),
		header: untrained(" [/INST]"),
		lead:   " ", close: " </s>", stop: "</s>", stopToken: true,
		reserved: "[/INST] ",
	}
}

func systemBlock(system string) string {
	if system == "" {
		return ""
	}
	return "<<SYS>>\n" + system + "\n<</SYS>>\n\n"
}

// chatML is style MPT: no newline after <|im_end|>.
func chatML(name, system string, aliases ...string) Template {
	return Template{
		Name: name, aliases: aliases, system: system,
		first:  untrained("<|im_start|>system\n" + system + "<|im_end|><|im_start|>user\n"),
		next:   untrained("<|im_start|>user\n"),
		header: untrained("<|im_end|><|im_start|>assistant\n"),
		close:  "<|im_end|>", stop: "<|im_end|>", stopToken: true,
		reserved: "<|im_end|>",
	}
}

// llama3 is the chat template of Meta-Llama-3-8B-Instruct and, with a system block, Llama-3.1-8B-Instruct.
func llama3(name, system string) Template {
	return Template{
		Name: name, begin: "<|begin_of_text|>",
		first:  untrained(system + llama3Header("user")),
		next:   untrained(llama3Header("user")),
		header: untrained("<|eot_id|>" + llama3Header("assistant")),
		close:  "<|eot_id|>", stop: "<|eot_id|>", stopToken: true,
		reserved: "<|eot_id|>", trim: true,
	}
}

func llama3Header(role string) string { return "<|start_header_id|>" + role + "<|end_header_id|>\n\n" }

// qwen is the chat template of Qwen2-7B-Instruct and Qwen2.5-7B-Instruct: ChatML with a line break after <|im_end|>,
// which is not trained, since generation stops before it.
func qwen(name, system string) Template {
	return Template{
		Name: name, system: system,
		first:  untrained("<|im_start|>system\n" + system + "<|im_end|>\n<|im_start|>user\n"),
		next:   untrained("\n<|im_start|>user\n"),
		header: untrained("<|im_end|>\n<|im_start|>assistant\n"),
		close:  "<|im_end|>", stop: "<|im_end|>", stopToken: true,
		reserved: "<|im_end|>",
	}
}

// qwen3 is the chat template of Qwen3's models without a system message and with thinking turned off: the last answer
// is preceded by an empty thought, earlier answers are not.
func qwen3(name string) Template {
	t := qwen(name, "")
	t.first = untrained("<|im_start|>user\n")
	t.final, t.reserved = "<think>\n\n</think>\n\n", "</think>"
	return t
}

// phi3 is the chat template of Phi-3-mini-4k-instruct and Phi-3.5-mini-instruct.
func phi3(name string) Template {
	return Template{
		Name:   name,
		first:  untrained("<|user|>\n"),
		next:   untrained("\n<|user|>\n"),
		header: untrained("<|end|>\n<|assistant|>\n"),
		close:  "<|end|>", stop: "<|end|>", stopToken: true,
		reserved: "<|end|>",
	}
}

// tagged puts the tags of the mmtag templates around each image.
func tagged(t Template) Template {
	t.image = [2]string{"<Image>", "</Image>"}
	return t
}

// markup finds control tokens such as <|im_start|> in a template's text.
var markup = regexp.MustCompile(`<\|\w+\|>`)

// markerIn returns a control token of the template that text holds, "" if there is none: the model would take it for
// the start or the end of a turn, also where the tokenizer does not call it special.
func (t *Template) markerIn(text string) string {
	if !strings.Contains(text, "<|") { // of most texts
		return ""
	}
	for _, found := range markup.FindAllString(text, -1) {
		writes := func(s span) bool { return strings.Contains(s.text, found) }
		if found == t.begin || writes(span{text: t.close}) ||
			slices.ContainsFunc(slices.Concat(t.first, t.next, t.header), writes) {
			return found
		}
	}
	return ""
}

// check requires the control tokens in t to be special tokens of the tokenizer: the model does not know them as
// ordinary text.
func (t *Template) check(tokenizer *tokenizer.Tokenizer) error {
	if _, ok := tokenizer.Special(t.stop); t.stopToken && !ok {
		return fmt.Errorf("template %q ends answers with %s, which is not a special token of this tokenizer: "+
			"choose another template", t.Name, t.stop)
	}
	parts := slices.Concat(t.first, t.next, t.header)
	for _, s := range append(parts, span{text: t.lead + t.close + t.tail + t.final}) {
		if missing := tokenizer.Missing(s.text); missing != "" {
			return fmt.Errorf("template %q writes %q, for which this tokenizer has no token: choose another template",
				t.Name, missing)
		}
	}
	for _, s := range parts {
		for _, text := range markup.FindAllString(s.text, -1) {
			if _, ok := tokenizer.Special(text); !ok {
				return fmt.Errorf("template %q uses %s, which is not a special token of this tokenizer: "+
					"choose another template", t.Name, text)
			}
		}
	}
	if id, _ := tokenizer.Special(t.stop); t.stopToken {
		if tokens := tokenizer.Encode("a" + t.close); tokens[len(tokens)-1].ID != id {
			return fmt.Errorf("template %q ends answers with %s, which this tokenizer does not recognise after a "+
				"text: choose another template", t.Name, t.stop)
		}
	}
	return nil
}

// Templates lists the names that OpenTemplate knows, including aliases, in the order of the table.
func Templates() []string {
	var names []string
	for _, t := range templates {
		names = append(append(names, t.Name), t.aliases...)
	}
	return names
}

// WithSystem is the template with another system text of its own; a row's still replaces it. "" leaves the template as
// it is.
func (t *Template) WithSystem(system string) (*Template, error) {
	switch {
	case system == "":
		return t, nil
	case t.system == "":
		return nil, failure.Inputf("template %q has no place for a system text: choose another template, or remove "+
			"model.language.system", t.Name)
	case strings.Contains(system, rows.ImageMark):
		return nil, failure.Inputf("model.language.system holds %s: an image belongs to a row", rows.ImageMark)
	}
	other := *t
	other.first = slices.Clone(t.first)
	other.first[0].text = strings.Replace(other.first[0].text, t.system, system, 1)
	other.system = system
	return &other, nil
}

// OpenTemplate finds a template by its name or alias.
func OpenTemplate(name string) (*Template, error) {
	for i := range templates {
		if t := &templates[i]; t.Name == name || slices.Contains(t.aliases, name) {
			return t, nil
		}
	}
	return nil, failure.NotOneOf("template", name, Templates())
}
