package recipes

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// onlySynth says whether the recipe is for `llavatrain synth` alone: such a recipe needs neither a model nor a stage.
func (d *decoder) onlySynth(r *Recipe) bool {
	return r.Synth != nil && len(r.sections()) == 0 && d.sound("") && d.sound(StagePretrain) && d.sound(StageFinetune)
}

func (d *decoder) checkSynth(s *Synth) {
	const at = "synth"
	d.required(at+".scenes", at+".rows", at+".endpoint")
	d.rule(at+".scenes", len(s.Scenes) > 0, "must list at least one set of annotations")
	for i, scenes := range s.Scenes {
		d.checkScenes(at+".scenes."+strconv.Itoa(i), scenes)
	}
	d.rule(at+".rows", s.Rows >= 1, "must be at least 1")
	d.checkKinds(at+".kinds", &s.Kinds)
	if d.sound(at) && d.given(at+".endpoint") {
		d.checkEndpoint(at+".endpoint", s.Endpoint)
	}
	d.checkSampling(at+".sampling", s.Sampling)
	d.checkBudget(at+".budget", s.Budget)
	d.oneOf(at+".language", s.Language, "en", "any")
	d.oneOf(at+".untrusted", s.Untrusted, "drop", "keep")
}

func (d *decoder) checkScenes(at string, s Scenes) {
	d.required(at+".format", at+".images")
	d.oneOf(at+".format", s.Format, SceneCOCO, SceneJSONL, SceneVisualGenome)
	files, ok := sceneFiles[s.Format]
	if !ok {
		return
	}
	for _, key := range files.needs {
		d.required(at + "." + key)
	}
	for _, key := range []string{"captions", "instances", "file", "regions", "image_data"} {
		d.rule(at+"."+key, slices.Contains(files.needs, key) || slices.Contains(files.may, key),
			"is no file of the format %s, which has %s", s.Format,
			strings.Join(slices.Concat(files.needs, files.may), ", "))
	}
}

// checkKinds fills in the usual shares if the recipe names none. Kinds that it leaves out are not made.
func (d *decoder) checkKinds(at string, k *Kinds) {
	if !d.given(at) {
		*k = usualKinds
		return
	}
	for key, share := range map[string]int{"conversation": k.Conversation, "detail": k.Detail,
		"reasoning": k.Reasoning} {
		d.rule(at+"."+key, 0 <= share && share <= 1_000_000, "must be from 0 to 1000000")
	}
	d.rule(at, k.Conversation+k.Detail+k.Reasoning > 0, "must give at least one kind a share above 0")
}

// variable is the name of an environment variable.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

func (d *decoder) checkEndpoint(at string, e Endpoint) {
	d.required(at+".url", at+".model")
	address, err := url.Parse(e.URL)
	d.rule(at+".url", err == nil && (address.Scheme == "https" || address.Scheme == "http") && address.Host != "",
		"must be an address such as http://localhost:8000/v1")
	if err == nil {
		d.rule(at+".url", address.User == nil,
			"must not hold a user or a password: set key_env to the environment variable that holds the key")
		d.rule(at+".url", address.Scheme != "http" || e.Insecure || isLoopback(address.Hostname()),
			"sends the key and the captions unencrypted to another machine: use https, or set insecure: true")
	}
	d.oneOf(at+".dialect", e.Dialect, Dialects...)
	d.rule(at+".concurrency", 1 <= e.Concurrency && e.Concurrency <= 4096, "must be from 1 to 4096")
	d.rule(at+".rpm", e.RPM >= 0, "must be 0 (as the server says) or more")
	d.rule(at+".tpm", e.TPM >= 0, "must be 0 (as the server says) or more")
	d.duration(at+".timeout", e.Timeout)
	d.duration(at+".patience", e.Patience)
}

// isLoopback says whether a host is this machine.
func isLoopback(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "::1" || loopback.MatchString(host)
}

var loopback = regexp.MustCompile(`^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$`)

func (d *decoder) duration(path, text string) {
	length, err := time.ParseDuration(text)
	d.rule(path, err == nil && length > 0, "must be a time such as 120s or 30m, not %s", quoted(text))
}

func (d *decoder) checkSampling(at string, s Sampling) {
	d.rule(at+".max_tokens", s.MaxTokens >= 16, "must be at least 16")
	d.rule(at+".temperature", s.Temperature == nil || *s.Temperature >= 0, "must be 0 or more")
	d.rule(at+".top_p", s.TopP == nil || *s.TopP > 0 && *s.TopP <= 1, "must be above 0, up to 1")
}

func (d *decoder) checkBudget(at string, b Budget) {
	d.rule(at+".tokens", b.Tokens >= 1, "must be at least 1; without a limit leave it out")
	d.rule(at+".money", b.Money > 0, "must be more than 0; without a limit leave it out")
	d.rule(at+".money", b.Prices != nil, "needs prices: {prompt, completion}, for a million tokens each")
	if p := b.Prices; p != nil {
		d.required(at+".prices.prompt", at+".prices.completion")
		d.rule(at+".prices.prompt", p.Prompt >= 0, "must be 0 or more")
		d.rule(at+".prices.cached", p.Cached == nil || *p.Cached >= 0, "must be 0 or more")
		d.rule(at+".prices.completion", p.Completion >= 0, "must be 0 or more")
		d.rule(at+".prices.batch_factor", 0 < p.BatchFactor && p.BatchFactor <= 1, "must be above 0, up to 1")
	}
}

// Forms of keys of well-known services, and of anything that is sent as one.
var (
	secretValue = regexp.MustCompile(`(?i)(\bbearer\s+\S{8}|\b(sk|pk|rk)-[a-z0-9_-]{16}|` +
		`\b(gsk|hf|xai|nvapi|fw|pplx|r8)[-_][a-z0-9]{16}|` +
		`\bAIza[a-z0-9_-]{20}|\beyJ[a-z0-9_-]{20}|[?&](api[-_]?key|key|token|access_token)=)`)
	secretName = regexp.MustCompile(`(?i)^(api[-_]?key|key|apikey|token|access[-_]?token|secret|password|` +
		`authorization)$`)
)

// secrets reports what looks like a key without showing it, and says whether there was any. It comes before everything
// that quotes values in its messages.
func (d *decoder) secrets(root *yaml.Node, at location) (found bool) {
	synth := entryOf(root, "synth")
	if synth == nil {
		return false
	}
	const instead = "keys do not belong in recipes: put it in an environment variable, and that variable's name in " +
		"synth.endpoint.key_env"
	var walk func(n *yaml.Node, key string)
	walk = func(n *yaml.Node, key string) {
		if given, ok := d.sets[n]; ok {
			at = given
		}
		plain := n.Kind == yaml.ScalarNode
		if plain && (secretValue.MatchString(n.Value) || secretName.MatchString(key) && n.Value != "" ||
			key == "key_env" && !variable.MatchString(n.Value)) {
			found = true
			d.report("synth", at.on(n.Line), "something that looks like a key (not shown here); %s", instead)
		}
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				if secretValue.MatchString(child.Value) {
					walk(child, "")
				}
				continue
			}
			name := ""
			if n.Kind == yaml.MappingNode {
				name = n.Content[i-1].Value
			}
			walk(child, name)
		}
	}
	walk(synth, "")
	return found
}

// entryOf is the value of a key of a mapping, or nil.
func entryOf(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
