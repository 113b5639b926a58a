package recipes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const minimalSynth = `synth:
  scenes: [{format: coco, captions: c.json, images: .}]
  rows: 10
  endpoint: {url: "http://localhost:8000/v1", model: m}
`

func TestSynthDefaults(t *testing.T) {
	r, err := load("/folder/a.yaml", []byte(minimalSynth), []string{"synth.sampling.top_p=0.5"})
	if err != nil {
		t.Fatal(err)
	}
	half := 0.5
	want := &Synth{
		Scenes: []Scenes{{Format: "coco", Captions: "/folder/c.json", Images: "/folder"}}, Rows: 10,
		Kinds: Kinds{58, 23, 77},
		Endpoint: Endpoint{URL: "http://localhost:8000/v1", Model: "m", Dialect: "auto", Concurrency: 16,
			Timeout: "120s", Patience: "30m"},
		Sampling: Sampling{MaxTokens: 1500, TopP: &half}, Language: "en", Untrusted: "drop", Seed: 42,
	}
	if diff := cmp.Diff(want, r.Synth); diff != "" {
		t.Errorf("synth (-want +got):\n%s", diff)
	}
	if timeout, patience := r.Synth.Endpoint.Limits(); timeout != 2*time.Minute || patience != 30*time.Minute {
		t.Errorf("timeout %v, patience %v", timeout, patience)
	}
	if _, err := r.Stage("pretrain"); err == nil || !strings.Contains(err.Error(), "trains nothing") {
		t.Errorf("stage: %v", err)
	}
	text, err := r.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	again, err := load("/elsewhere/a.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Synth, again.Synth); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

// Kinds that a recipe leaves out are not made, and a stage does not look at the section.
func TestSynthKindsAndStages(t *testing.T) {
	r, err := load("/folder/a.yaml", []byte(minimal+minimalSynth), []string{"synth.kinds={detail: 1}"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Synth.Kinds != (Kinds{Detail: 1}) || r.Pretrain == nil {
		t.Errorf("kinds %+v, pretrain %v", r.Synth.Kinds, r.Pretrain)
	}
	without, err := load("/folder/a.yaml", []byte(minimal), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(without.Digest("pretrain"), r.Digest("pretrain")); diff != "" {
		t.Errorf("digest (-without +with):\n%s", diff)
	}
}

func TestSynthProblems(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"format: coco", "format: json",
			`2: synth.scenes.0.format: must be one of coco, jsonl, visual-genome, not "json"`},
		{"captions: c.json", "file: c.json", "2: synth.scenes.0.captions: required key is missing\n" +
			"2: synth.scenes.0.file: is no file of the format coco, which has captions, instances"},
		{", images: .", "", "2: synth.scenes.0.images: required key is missing"},
		{"[{format: coco, captions: c.json, images: .}]", "[]",
			"2: synth.scenes: must list at least one set of annotations"},
		{"rows: 10", "rows: 0", "3: synth.rows: must be at least 1"},
		{"  rows: 10\n", "", "1: synth.rows: required key is missing"},
		{"http://localhost:8000/v1", "localhost:8000", "4: synth.endpoint.url: must be an address such as " +
			"http://localhost:8000/v1"},
		{"http://localhost", "http://far", "4: synth.endpoint.url: sends the key and the captions unencrypted to " +
			"another machine: use https, or set insecure: true"},
		{"http://localhost", "http://127.0.0.1.evil", "4: synth.endpoint.url: sends the key and the captions " +
			"unencrypted to another machine: use https, or set insecure: true"},
		{"http://localhost", "https://a:b@far", "4: synth.endpoint.url: must not hold a user or a password: set " +
			"key_env to the environment variable that holds the key"},
		{"model: m", "model: m, timeout: 120",
			`4: synth.endpoint.timeout: must be a time such as 120s or 30m, not "120"`},
		{"rows: 10", "rows: 10\n  kinds: {detail: 0}", "4: synth.kinds: must give at least one kind a share above 0"},
		{"rows: 10", "rows: 10\n  budget: {money: 4}", "4: synth.budget.money: needs prices: {prompt, completion}, " +
			"for a million tokens each"},
		{"rows: 10", "rows: 10\n  budget: {money: 4, prices: {prompt: 1}}",
			"4: synth.budget.prices.completion: required key is missing"},
	} {
		text := strings.Replace(minimalSynth, c.old, c.new, 1)
		_, err := load("/recipe.yaml", []byte(text), nil)
		want := "/recipe.yaml:" + strings.ReplaceAll(c.want, "\n", "\n/recipe.yaml:")
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", c.new, err, want)
		}
	}
	for _, near := range []string{"http://127.0.0.1:1/v1", "http://[::1]:1/v1",
		"http://far/v1\", insecure: true, dialect: \"auto"} {
		if _, err := load("/recipe.yaml", []byte(strings.Replace(minimalSynth, "http://localhost:8000/v1", near, 1)),
			nil); err != nil {
			t.Errorf("%s: %v", near, err)
		}
	}
}

// What looks like a key is refused, wherever it stands, and never shown.
func TestSynthKeysAreNotShown(t *testing.T) {
	const secret = "s3cr3tABCDEFGHIJKLMNOPQRSTUV"
	for _, add := range []string{
		"api_key: " + secret, "key: " + secret, "token: " + secret, "key_env: sk-" + secret, "key_env: \"" +
			secret + " \"",
		"model: sk-proj-" + secret, "Authorization: Bearer " + secret, "hf_" + secret + ": 1", "dialect: gsk_" + secret,
		"timeout: {password: " + secret + "}", `url: "https://far/v1?api-key=` + secret + `"`,
	} {
		text := minimalSynth + "  seed: 1\n"
		text = strings.Replace(text, "model: m}", "model: m, "+add+"}", 1)
		_, err := load("/recipe.yaml", []byte(text), nil)
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || !strings.Contains(err.Error(), "looks like a key") {
			t.Errorf("%s: %v", add, err)
		}
	}
	_, err := load("/recipe.yaml", []byte(minimalSynth), []string{"synth.endpoint.key_env=sk-" + secret})
	if err == nil || strings.Contains(err.Error(), "s3cr3t") ||
		!strings.Contains(err.Error(), "--set synth.endpoint.key_env") {
		t.Errorf("--set: %v", err)
	}
	for _, fine := range []string{"key_env: OPENAI_API_KEY", "model: hf_datasets/key_points-annotations"} {
		text := strings.Replace(minimalSynth, "model: m}", strings.Replace("model: m, "+fine+"}", "model: m, model",
			"model", 1), 1)
		if _, err := load("/recipe.yaml", []byte(text), nil); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
}
