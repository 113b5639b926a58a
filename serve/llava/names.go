package llava

import "strings"

// nameRule is a line of the original web program's choice of a template by a model's name.
type nameRule struct {
	all, none []string // what the name must and must not hold
	template  string
}

// withLLaVA are the rules for names with "llava", in any case; the first that fits is taken.
var withLLaVA = []nameRule{
	{[]string{"llama-2"}, nil, "llava_llama_2"},
	{[]string{"mistral", "orca"}, nil, "mistral_orca"},
	{[]string{"mixtral", "orca"}, nil, "mistral_orca"},
	{[]string{"mistral", "hermes"}, nil, "chatml_direct"},
	{[]string{"mixtral", "hermes"}, nil, "chatml_direct"},
	{[]string{"mistral"}, nil, "mistral_instruct"},
	{[]string{"mixtral"}, nil, "mistral_instruct"},
	{[]string{"llava-v1.6-34b"}, nil, "chatml_direct"},
	{[]string{"v1", "mmtag"}, nil, "v1_mmtag"},
	{[]string{"v1", "plain"}, []string{"finetune"}, "v1_mmtag"},
	{[]string{"v1"}, nil, "llava_v1"},
	{[]string{"mpt"}, nil, "mpt"},
	{[]string{"mmtag"}, nil, "v0_mmtag"},
	{[]string{"plain"}, []string{"finetune"}, "v0_mmtag"},
	{nil, nil, "llava_v0"},
}

// withoutLLaVA are those for other names, in lower case only.
var withoutLLaVA = []nameRule{
	{[]string{"mpt"}, nil, "mpt_text"},
	{[]string{"llama-2"}, nil, "llama_2"},
	{nil, nil, "vicuna_v1"},
}

// absent are templates that the rules name and the original's table of templates lacks: its web program fails.
var absent = map[string]bool{"mistral_orca": true, "mpt_text": true}

// TemplateByName is the template that the original's web program takes for a model, which it knows only by its name
// (http_bot in llava/serve/gradio_web_server.py). fails says that it has no such template and breaks.
func TemplateByName(model string) (template string, fails bool) {
	rules := withoutLLaVA
	if Multimodal(model) {
		rules, model = withLLaVA, strings.ToLower(model)
	}
	for _, rule := range rules {
		if rule.fits(model) {
			return rule.template, absent[rule.template]
		}
	}
	return "", true
}

func (r nameRule) fits(name string) bool {
	for _, part := range r.all {
		if !strings.Contains(name, part) {
			return false
		}
	}
	for _, part := range r.none {
		if strings.Contains(name, part) {
			return false
		}
	}
	return true
}

// Multimodal reports whether the original's worker looks at pictures under this name.
func Multimodal(model string) bool { return strings.Contains(strings.ToLower(model), "llava") }

// ModelName is the name under which the original's worker serves a model folder: the last element of its path, for
// checkpoint-N with the element before it.
func ModelName(path string) string {
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	last := parts[len(parts)-1]
	if strings.HasPrefix(last, "checkpoint-") && len(parts) > 1 {
		return parts[len(parts)-2] + "_" + last
	}
	return last
}
