package shapes

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parsed is a SentencePiece model as this test reads it back from its bytes.
type parsed struct {
	pieces              []piece
	trainer, normalizer map[uint64]uint64 // their integer fields
}

// fields splits a protobuf message; visit gets integers and floats as number, everything else as bytes.
func fields(t *testing.T, message []byte, visit func(field, number uint64, content []byte)) {
	t.Helper()
	uvarint := func() uint64 {
		v, n := binary.Uvarint(message)
		if n <= 0 {
			t.Fatal("truncated message")
		}
		message = message[n:]
		return v
	}
	for len(message) > 0 {
		tag := uvarint()
		switch tag & 7 {
		case 0:
			visit(tag>>3, uvarint(), nil)
		case 2:
			size := uvarint()
			visit(tag>>3, 0, message[:size])
			message = message[size:]
		case 5:
			visit(tag>>3, uint64(binary.LittleEndian.Uint32(message)), nil)
			message = message[4:]
		default:
			t.Fatalf("wire type %d", tag&7)
		}
	}
}

func parse(t *testing.T, path string) parsed {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	model := parsed{trainer: map[uint64]uint64{}, normalizer: map[uint64]uint64{}}
	fields(t, content, func(field, _ uint64, part []byte) {
		var p piece
		fields(t, part, func(inner, number uint64, text []byte) {
			switch {
			case field == 2:
				model.trainer[inner] = number
			case field == 3:
				model.normalizer[inner] = number
			case inner == 1:
				p.text = string(text)
			case inner == 2:
				p.score = math.Float32frombits(uint32(number))
			case inner == 3:
				p.kind = number
			}
		})
		if field == 1 {
			model.pieces = append(model.pieces, p)
		}
	})
	return model
}

// encode is BPE by its definition: join the neighbours whose piece has the highest score, the leftmost first, until
// none is left.
func (m parsed) encode(text string, prefix bool) []string {
	scores := map[string]float32{}
	for _, p := range m.pieces {
		if p.kind == pieceNormal {
			scores[p.text] = p.score
		}
	}
	text = strings.ReplaceAll(text, " ", wordStart)
	if prefix {
		text = wordStart + text
	}
	symbols := strings.Split(text, "")
	for {
		best := -1
		for i := range len(symbols) - 1 {
			score, ok := scores[symbols[i]+symbols[i+1]]
			if ok && (best < 0 || score > scores[symbols[best]+symbols[best+1]]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		symbols = slices.Replace(symbols, best, best+2, symbols[best]+symbols[best+1])
	}
	var tokens []string
	for _, s := range symbols {
		if _, ok := scores[s]; ok {
			tokens = append(tokens, s)
			continue
		}
		for _, b := range []byte(s) {
			tokens = append(tokens, fmt.Sprintf("<0x%02X>", b))
		}
	}
	return tokens
}

func writeConfigs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := WriteConfigs(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTokenizerLayout(t *testing.T) {
	m := parse(t, filepath.Join(writeConfigs(t), "tokenizer.model"))
	want := []piece{{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<0x00>", 0, 6}}
	if diff := cmp.Diff(want, m.pieces[:4], cmp.AllowUnexported(piece{})); diff != "" {
		t.Error(diff)
	}
	if last := m.pieces[258]; last != (piece{"<0xFF>", 0, 6}) {
		t.Errorf("piece 258 is %+v", last)
	}
	seen := map[string]bool{}
	for i, p := range m.pieces {
		if seen[p.text] {
			t.Errorf("piece %q occurs twice", p.text)
		}
		seen[p.text] = true
		if i > 259 && p.score >= m.pieces[i-1].score {
			t.Errorf("score of piece %d, %q, does not descend", i, p.text)
		}
	}
	if !seen[wordStart] || len(m.pieces) > 1000 {
		t.Errorf("%d pieces, a space alone is one of them: %v", len(m.pieces), seen[wordStart])
	}
	if diff := cmp.Diff(map[uint64]uint64{3: 2, 4: uint64(len(m.pieces)), 35: 1}, m.trainer); diff != "" {
		t.Errorf("trainer: %s", diff)
	}
	if diff := cmp.Diff(map[uint64]uint64{1: 0, 3: 1, 4: 0, 5: 1}, m.normalizer); diff != "" {
		t.Errorf("normalizer: %s", diff)
	}
}

func TestTokens(t *testing.T) {
	m := parse(t, filepath.Join(writeConfigs(t), "tokenizer.model"))
	tests := []struct {
		text   string
		prefix bool
		want   string // pieces, a space between them
	}{
		{"\nWhat color is the star? ASSISTANT:", true,
			"▁ <0x0A> What ▁color ▁is ▁the ▁star ? ▁ASSISTANT :"},
		{"USER: Is the star left of the circle?", false,
			"USER : ▁Is ▁the ▁star ▁left ▁of ▁the ▁circle ?"},
		{"answers to the user's questions. USER: ", true,
			"▁answers ▁to ▁the ▁user's ▁questions . ▁USER : ▁"},
		{"an orange cross in the bottom right\n", true,
			"▁an ▁orange ▁cross ▁in ▁the ▁bottom ▁right <0x0A>"},
		{"é", false, "<0xC3> <0xA9>"},
	}
	for _, test := range tests {
		if diff := cmp.Diff(strings.Fields(test.want), m.encode(test.text, test.prefix)); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
	}
}

// Every word that is written is one token, within a line and, if lines can start with it, at the start of a line.
func TestWordsAreSingleTokens(t *testing.T) {
	m := parse(t, filepath.Join(writeConfigs(t), "tokenizer.model"))
	demo, base := writeDemo(t, small), writeBase(t, small)
	texts := slices.Clone(vicunaTexts)
	for _, path := range []string{demo + "/pretrain.json", demo + "/finetune.json", base + "/captions.json", base +
		"/conversations.json"} {
		for _, r := range readJSON[row](t, path) {
			for _, m := range r.Conversations {
				texts = append(texts, m.Value)
			}
		}
	}
	for _, set := range []string{"new", "unseen"} {
		for _, q := range readJSON[Question](t, filepath.Join(demo, set+".json")) {
			texts = append(texts, q.Text, q.Answer)
		}
	}
	atStart := map[string]bool{"USER": true}
	inLine := map[string]bool{}
	for _, text := range texts {
		for i, line := range strings.Split(strings.ReplaceAll(text, "<image>", ""), "\n") {
			for k, word := range wordPattern.FindAllString(line, -1) {
				inLine[word] = true
				if i > 0 && k == 0 {
					atStart[word] = true
				}
			}
		}
	}
	for word := range inLine {
		if got := m.encode(word, true); len(got) != 1 {
			t.Errorf("word %q in a line is %q", word, got)
		}
	}
	for word := range atStart {
		if got := m.encode(word, false); len(got) != 1 {
			t.Errorf("word %q at the start of a line is %q", word, got)
		}
	}
	if len(inLine) < 60 || len(atStart) < 6 {
		t.Errorf("only %d words, %d of them at the start of a line, were tried", len(inLine), len(atStart))
	}
}

var wordPattern = regexp.MustCompile(`[\w']+`)

func TestConfigsAgree(t *testing.T) {
	dir := writeConfigs(t)
	read := func(name string) (config map[string]any) {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(content, &config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return config
	}
	tower, language, processor, tokenizer := read("tower.json"), read("language.json"),
		read("preprocessor_config.json"), read("tokenizer_config.json")
	if pieces := len(vocabulary()); language["vocab_size"] != float64(pieces) {
		t.Errorf("language.json: vocab_size %v, the tokenizer has %d pieces", language["vocab_size"], pieces)
	}
	size := processor["crop_size"].(map[string]any)
	if tower["image_size"] != float64(pictureSize) || size["height"] != tower["image_size"] ||
		size["width"] != tower["image_size"] {
		t.Errorf("picture sizes: %d, tower %v, processor %v", pictureSize, tower["image_size"], size)
	}
	if tokenizer["legacy"] != false || tokenizer["model_max_length"] != language["max_position_embeddings"] {
		t.Errorf("tokenizer_config.json: legacy %v, model_max_length %v",
			tokenizer["legacy"], tokenizer["model_max_length"])
	}
}
