package data

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/rows"
)

var updateTemplates = flag.Bool("update-templates", false, "rewrite testdata/text_template_*.txt")

// show writes spans with the trained ones in brackets.
func show(spans []span) string {
	text := ""
	for _, s := range spans {
		if s.trained {
			text += "⟦" + s.text + "⟧"
		} else {
			text += s.text
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "⟧⟦", ""), "⟦⟧", "") + "\n"
}

// TestTemplatesGolden has every template spell a conversation out. go test ./data -update-templates rewrites the files.
func TestTemplatesGolden(t *testing.T) {
	for _, template := range templates {
		e := &Encoder{tokenizer: tinyTokenizer(t, true), template: &template}
		r := rows.Record{Images: paths("cat.jpg"),
			Turns: []rows.Turn{{Role: "human", Text: "<image>\nHi?"}, {Role: "gpt", Text: "A cat."}}}
		if !template.caption {
			r.Turns = append(r.Turns, rows.Turn{Role: "human", Text: "Why?"}, rows.Turn{Role: "gpt", Text: "It sat."})
		}
		conversation, err := e.converse(r)
		if err != nil {
			t.Fatal(err)
		}
		got := show(template.render(conversation))
		path := filepath.Join("testdata", "text_template_"+template.Name+".txt")
		if *updateTemplates {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-golden +this):\n%s", template.Name, diff)
		}
	}
}

func TestOpenTemplate(t *testing.T) {
	names := Templates()
	for name, want := range map[string]string{
		"plain": "plain", "v0_plain": "plain", "vicuna_v1": "vicuna_v1", "v1": "vicuna_v1", "llava_v1": "llava_v1",
		"v0":      "llava_v0",
		"default": "llava_v0", "llava_v0": "llava_v0", "v0_mmtag": "v0_mmtag", "v1_mmtag": "v1_mmtag",
		"llama_2":       "llama_2",
		"llava_llama_2": "llava_llama_2", "mistral_instruct": "mistral_instruct", "mpt": "mpt",
		"chatml_direct":  "chatml_direct",
		"mistral_direct": "chatml_direct", "llama_3": "llama_3", "llama_3_1": "llama_3_1", "qwen_2": "qwen_2",
		"qwen_2_5": "qwen_2_5", "qwen_3": "qwen_3",
		"phi_3": "phi_3",
	} {
		if got := openTemplate(t, name).Name; got != want {
			t.Errorf("%q opens %q, want %q", name, got, want)
		}
		if !slices.Contains(names, name) {
			t.Errorf("Templates() lacks %q", name)
		}
	}
	if len(names) != 23 {
		t.Errorf("%d names: %q", len(names), names)
	}
	_, err := OpenTemplate("vicuna")
	if err == nil || err.Error() != `template must be one of `+strings.Join(names, ", ")+`, not "vicuna"` {
		t.Errorf("unknown name: %v", err)
	}
}
