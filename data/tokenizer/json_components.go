package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// component is a part of a tokenizer.json: an object with a type, or null.
type component struct {
	Type string
	raw  []byte
}

func (c *component) UnmarshalJSON(b []byte) error {
	c.raw = bytes.Clone(b)
	var typed struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(b, &typed)
	c.Type = typed.Type
	return err
}

// strictJSON refuses keys that value has no field for: unknown settings could change the ids.
func strictJSON(text []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected data after the JSON value")
	}
	return nil
}

// maxNesting keeps nested sequences from filling the stack.
const maxNesting = 8

// steps splits a component into those that run one after the other; list is the key of a Sequence's components.
func (c component) steps(list string, depth int) ([]component, error) {
	switch {
	case c.Type == "" && (len(c.raw) == 0 || string(c.raw) == "null"):
		return nil, nil
	case c.Type != "Sequence":
		return []component{c}, nil
	case depth == maxNesting:
		return nil, fmt.Errorf("%s are nested too deeply", list)
	}
	var sequence map[string]json.RawMessage
	var inner []component
	if err := json.Unmarshal(c.raw, &sequence); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(sequence[list], &inner); err != nil || len(sequence) != 2 {
		return nil, fmt.Errorf("component Sequence does not have a list of %s", list)
	}
	var steps []component
	for _, i := range inner {
		more, err := i.steps(list, depth+1)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	return steps, nil
}

// names returns the types of components, for messages and to distinguish combinations.
func names(steps []component) string {
	var types []string
	for _, s := range steps {
		types = append(types, s.Type)
	}
	return strings.Join(types, ", ")
}

// pipeline reads all components but the model and the post-processor.
func (f tokenizerJSON) pipeline() (*pipeline, error) {
	p := &pipeline{}
	marked, err := p.readNormalizer(f.Normalizer)
	if err != nil {
		return nil, err
	}
	if err := p.readPreTokenizer(f.PreTokenizer); err != nil {
		return nil, err
	}
	if p.decoder, err = parseDecoder(f.Decoder); err != nil {
		return nil, err
	}
	switch {
	case p.byteLevel != p.decoder.byteLevel:
		return nil, errors.New("pre-tokenizer and decoder do not belong together: only one of them is ByteLevel")
	case p.byteLevel && marked, marked && p.metaspace != nil:
		return nil, errors.New("normalizer writes spaces as ▁, but a pre-tokenizer follows it; that is not supported")
	case !p.byteLevel && !marked && p.metaspace == nil:
		return nil, errors.New("neither normalizer nor pre-tokenizer defines how spaces are written; " +
			"that is not supported")
	}
	return p, nil
}

// readNormalizer reports whether the normalizer writes spaces as ▁.
func (p *pipeline) readNormalizer(c component) (marked bool, err error) {
	steps, err := c.steps("normalizers", 0)
	if err != nil {
		return false, fmt.Errorf("normalizer: %w", err)
	}
	for _, step := range steps {
		if err := checkNormalizer(step); err != nil {
			return false, fmt.Errorf("normalizer: %w", err)
		}
	}
	switch kinds := names(steps); kinds {
	case "":
		p.normalize = func(text string) aligned { return aligned{text: text} }
	case "NFC":
		p.normalize = composed
	case "Replace":
		p.normalize = func(text string) aligned { return markSpaces(text, false) }
	case "Prepend, Replace":
		p.normalize = func(text string) aligned { return markSpaces(text, text != "") }
	default:
		return false, fmt.Errorf("normalizer is %q; none, NFC, Replace, and Prepend with Replace are supported", kinds)
	}
	return len(steps) > 0 && steps[0].Type != "NFC", nil
}

// pattern is what Replace and Split search for: a text or a regular expression.
type pattern struct {
	String string
	Regex  string
}

func checkNormalizer(step component) error {
	var s struct {
		Type    string  `json:"type"`
		Prepend string  `json:"prepend"`
		Content string  `json:"content"`
		Pattern pattern `json:"pattern"`
	}
	if err := strictJSON(step.raw, &s); err != nil {
		return fmt.Errorf("%q: %w", step.Type, err)
	}
	switch {
	case step.Type == "Prepend" && s.Prepend != space:
		return fmt.Errorf("component Prepend puts %q before texts; only %q is supported", s.Prepend, space)
	case step.Type == "Replace" && (s.Pattern != pattern{String: " "} || s.Content != space):
		return fmt.Errorf("component Replace writes %q for %q; only %q for a space is supported",
			s.Content, s.Pattern, space)
	}
	return nil
}

// parsePostProcessor returns the token that the post-processor puts before a text, "" for none.
func parsePostProcessor(c component) (bos string, err error) {
	steps, err := c.steps("processors", 0)
	if err != nil {
		return "", fmt.Errorf("post-processor: %w", err)
	}
	for _, step := range steps {
		switch step.Type {
		case "ByteLevel": // only trims offsets
		case "TemplateProcessing":
			if bos, err = templateBOS(step); err != nil {
				return "", fmt.Errorf("post-processor TemplateProcessing: %w", err)
			}
		default:
			return "", fmt.Errorf("post-processor is %q; ByteLevel and TemplateProcessing are supported", step.Type)
		}
	}
	return bos, nil
}

// templateBOS reads the template for a single text; the one for pairs is never used.
func templateBOS(c component) (bos string, err error) {
	var template struct {
		Single []struct {
			Special  *struct{ ID string } `json:"SpecialToken"`
			Sequence *struct{ ID string } `json:"Sequence"`
		} `json:"single"`
	}
	if err := json.Unmarshal(c.raw, &template); err != nil {
		return "", err
	}
	parts := template.Single
	if len(parts) == 2 && parts[0].Special != nil {
		bos, parts = parts[0].Special.ID, parts[1:]
	}
	if len(parts) != 1 || parts[0].Sequence == nil {
		return "", errors.New("only one token before a single text is supported, " +
			"since the chat templates end texts themselves")
	}
	return bos, nil
}
