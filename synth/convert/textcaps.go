package convert

import "strings"

const captionLine = "Provide a one-sentence caption for the provided image."

// readTextCaps reads TextCaps: a list "data" with one caption an entry, or all of a picture. A picture's first caption
// that can be used is its answer. The second file holds the words that an OCR program saw, by image_id.
func readTextCaps(c *conversion) error {
	tokens := map[string]string{}
	if len(c.files) > 1 {
		if err := readTokens(c.files[1], tokens); err != nil {
			return err
		}
	}
	done := map[string]bool{}
	return readLists(c.files[0], map[string]visit{"data": func(e entry) error {
		var caption struct {
			Picture    *string  `json:"image_id"`
			Text       *string  `json:"caption_str"`
			References []string `json:"reference_strs"`
		}
		if err := e.decode(&caption); err != nil {
			return err
		}
		texts := caption.References
		switch {
		case caption.Picture == nil:
			return e.lacks("image_id")
		case caption.Text != nil:
			texts = []string{*caption.Text}
		case texts == nil:
			return e.lacks("caption_str")
		}
		id := *caption.Picture
		if err := e.fileName(id); err != nil {
			return err
		}
		question := captionLine
		if tokens[id] != "" {
			question += "\nReference OCR token: " + tokens[id]
		}
		for _, text := range texts {
			p := pair{question, answered(text)}
			if done[id] {
				c.pass("further captions")
			} else if c.sound(p) {
				done[id] = true
				if err := c.emit(id, c.row(id, "textvqa/train_images/"+id+".jpg", "", []pair{p})); err != nil {
					return err
				}
			}
		}
		return nil
	}})
}

// readTokens reads the OCR tokens of pictures, joined by commas.
func readTokens(path string, tokens map[string]string) error {
	return readLists(path, map[string]visit{"data": func(e entry) error {
		var seen struct {
			Picture *string  `json:"image_id"`
			Tokens  []string `json:"ocr_tokens"`
		}
		if err := e.decode(&seen); err != nil {
			return err
		}
		switch {
		case seen.Picture == nil:
			return e.lacks("image_id")
		case seen.Tokens == nil:
			return e.lacks("ocr_tokens")
		}
		var words []string
		for _, token := range seen.Tokens {
			if token = tidy(token); token != "" {
				words = append(words, token)
			}
		}
		tokens[*seen.Picture] = strings.Join(words, ", ")
		return nil
	}})
}
