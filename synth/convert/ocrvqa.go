package convert

// ocrTraining is the number of the training split in OCR-VQA's dataset.json.
const ocrTraining = 1

// readOCRVQA reads OCR-VQA: an object by book, each with lists of questions and answers. Books of the training split
// are taken if they have a question that can be used.
func readOCRVQA(c *conversion) error {
	return readTable(c.files[0], func(id string, e entry) error {
		var book struct {
			Split     *int     `json:"split"`
			Questions []string `json:"questions"`
			Answers   []string `json:"answers"`
		}
		if err := e.decode(&book); err != nil {
			return err
		}
		switch {
		case book.Split == nil:
			return e.lacks("split")
		case book.Questions == nil:
			return e.lacks("questions")
		case book.Answers == nil:
			return e.lacks("answers")
		}
		if *book.Split != ocrTraining {
			c.pass("books of other splits")
			return nil
		}
		if err := e.fileName(id); err != nil {
			return err
		}
		var pairs []pair
		for i, question := range book.Questions {
			p := pair{question: tidy(question)}
			if i < len(book.Answers) {
				p.answer = answered(book.Answers[i])
			}
			if fault := p.fault(); fault != "" {
				c.pass("questions with " + fault)
				continue
			}
			pairs = append(pairs, p)
		}
		if pairs == nil {
			c.pass("books without a question that can be used")
			return nil
		}
		return c.emit(id, c.row(id, "ocr_vqa/images/"+id+".jpg", shortLine, pairs))
	})
}
