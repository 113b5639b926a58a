package convert

// readGQA reads GQA's questions, an object by question id. Those that are not balanced are passed over.
func readGQA(c *conversion) error {
	pictures := newGroups[string, pair]()
	err := readTable(c.files[0], func(_ string, e entry) error {
		var q struct {
			Picture  *string `json:"imageId"`
			Question *string `json:"question"`
			Answer   string  `json:"answer"` // test questions have none
			Balanced *bool   `json:"isBalanced"`
		}
		if err := e.decode(&q); err != nil {
			return err
		}
		switch {
		case q.Picture == nil:
			return e.lacks("imageId")
		case q.Question == nil:
			return e.lacks("question")
		case q.Balanced == nil:
			return e.lacks("isBalanced")
		}
		if !*q.Balanced {
			c.pass("questions that are not balanced")
			return nil
		}
		if err := e.fileName(*q.Picture); err != nil {
			return err
		}
		if p := (pair{tidy(*q.Question), answered(q.Answer)}); c.sound(p) {
			pictures.add(*q.Picture, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return pictures.each(func(id string, pairs []pair) error {
		return c.emit(id, c.row(id, "gqa/images/"+id+".jpg", shortLine, pairs))
	})
}
