package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// marks are the ids of the added tokens <image> (the placeholder), <pad> and, for LLaVA-OneVision, <video>, which
// transformers' LLaVA wants in its tokenizer: those in the tokenizer's files, or the next free ones.
type marks struct{ image, pad, video int64 }

const imageText, padText, videoText = "<image>", "<pad>", "<video>"

func (m marks) ids() model.SpecialTokens {
	return model.SpecialTokens{Image: m.image, Pad: m.pad, Video: m.video}
}

// object is a JSON object most of whose keys are passed on as they are.
type object = map[string]any

// marksOf looks up the tokens in the tokenizer.
func marksOf(p *input.Preprocessor) (m marks) {
	next := int64(p.Tokenizer.VocabSize())
	take := func(text string) int64 {
		if id, ok := p.Tokenizer.Special(text); ok {
			return int64(id)
		}
		next++
		return next - 1
	}
	m.image = take(imageText)
	m.pad = take(padText)
	if isOneVision(p.Tiling) {
		m.video = take(videoText)
	}
	return m
}

// write adds the tokens to the tokenizer files of a folder. class is the tokenizer's class if no file says it,
// processor that of the processor.
func (m marks) write(dir, class, processor string) error {
	tokens := []addedToken{{m.image, imageText, true}, {m.pad, padText, true}}
	if m.video > 0 {
		tokens = append(tokens, addedToken{m.video, videoText, true})
	}
	return errors.Join(
		writeTokens(dir, tokens),
		editObject(filepath.Join(dir, "tokenizer_config.json"), func(config object) {
			config["pad_token"], config["image_token"] = padText, imageText
			config["processor_class"] = processor
			// The template is that of chat_template.jinja: some readers prefer an older one here.
			delete(config, "chat_template")
			if config["tokenizer_class"] == nil {
				config["tokenizer_class"] = class
			}
		}),
		editObject(filepath.Join(dir, "special_tokens_map.json"), func(names object) {
			names["pad_token"], names["image_token"] = padText, imageText
		}))
}

// readObject reads a JSON object from a file, an empty one if the file does not exist. Numbers keep their spelling.
func readObject(path string) (object, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return object{}, nil
	}
	if err != nil {
		return nil, err
	}
	content := object{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&content); err != nil {
		return nil, failure.Inputf("%s: %w", path, err)
	}
	return content, nil
}

func editObject(path string, edit func(object)) error {
	content, err := readObject(path)
	if err != nil {
		return err
	}
	edit(content)
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o666)
}
