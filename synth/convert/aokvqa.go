package convert

import "strconv"

// choice is a question with options.
type choice struct {
	question string
	options  []string
	right    int
}

// rotated is the pair with the options moved up by k places, so that the right one gets another letter.
func (q choice) rotated(k int) pair {
	n := len(q.options)
	options := make([]string, n)
	for i := range options {
		options[i] = q.options[(i+k)%n]
	}
	return pair{q.question + lettered(options), letter((q.right + n - k%n) % n)}
}

// readAOKVQA reads A-OKVQA's multiple choice: a list of questions. A picture has as many rows as its longest list of
// choices is long: in each the choices are rotated by one more, so that every letter is right equally often.
func readAOKVQA(c *conversion) error {
	pictures := newGroups[int64, choice]()
	err := readLists(c.files[0], map[string]visit{"": func(e entry) error {
		var q struct {
			Picture  *int64   `json:"image_id"`
			Question *string  `json:"question"`
			Choices  []string `json:"choices"`
			Right    *int     `json:"correct_choice_idx"` // test questions have none
		}
		if err := e.decode(&q); err != nil {
			return err
		}
		switch {
		case q.Picture == nil:
			return e.lacks("image_id")
		case q.Question == nil:
			return e.lacks("question")
		case q.Choices == nil:
			return e.lacks("choices")
		case *q.Picture < 0:
			return e.fault("image_id is %d", *q.Picture)
		}
		if fault := choiceFault(q.Choices, q.Right); fault != "" {
			c.drop(fault)
			return nil
		}
		for i, option := range q.Choices {
			q.Choices[i] = tidy(option)
		}
		question := choice{tidy(*q.Question), q.Choices, *q.Right}
		if question.question == "" {
			c.drop("no question")
		} else if c.sound(question.rotated(0)) {
			pictures.add(*q.Picture, question)
		}
		return nil
	}})
	if err != nil {
		return err
	}
	return pictures.each(c.emitRotations)
}

// emitRotations passes the rows of one picture on.
func (c *conversion) emitRotations(picture int64, questions []choice) error {
	id, most := strconv.FormatInt(picture, 10), 0
	for _, q := range questions {
		most = max(most, len(q.options))
	}
	rows := make([]row, most)
	for k := range rows {
		pairs := make([]pair, len(questions))
		for i, q := range questions {
			pairs[i] = q.rotated(k)
		}
		rows[k] = c.row(id, coco(picture), letterLine, pairs)
	}
	return c.emit(id, rows...)
}
